"""A minimal server for comparison: it judges one request at a time."""

import argparse
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from freelm.api import FreeLM
from freelm.serve.lifecycle import bind


class Asked(BaseModel):
    """A text and its labels."""

    input: str
    labels: list[str]


def main() -> None:
    """Serve a model at `/classify` of 127.0.0.1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    model = FreeLM.from_pretrained(options.model)
    listener = bind("127.0.0.1", options.port)
    app = FastAPI()
    # FastAPI runs plain functions in several threads, and the model is not thread-safe.
    lock = threading.Lock()

    @app.post("/classify")
    def classify(asked: Asked) -> dict[str, Any]:
        with lock:
            return model.classify(asked.input, asked.labels).as_dict()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    print(f"plain at http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_config=None)).run(sockets=[listener])


if __name__ == "__main__":
    main()
