"""The interfaces that the server speaks: pydantic models, and their translation into claims."""
