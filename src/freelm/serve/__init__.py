"""The server: official clients' HTTP interfaces over one model, and a page to try it."""
