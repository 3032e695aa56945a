"""Reading JSON files."""

import json
from pathlib import Path
from typing import Any

from freelm.errors import DataError, FreeLMError, os_reason


def read_json(path: Path, error: type[FreeLMError] = DataError) -> Any:
    """Read a JSON file.

    Args:
        path: A UTF-8 file.
        error: Exception to raise.

    Raises:
        FreeLMError: Of type `error`, if it cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise error(f"{path}: cannot be read ({os_reason(fault)})") from None
    except (ValueError, RecursionError) as fault:
        raise error(f"{path}: is not valid JSON ({fault})") from None
