"""How a child process starts, and how code reaches it; README.md draws the way."""
