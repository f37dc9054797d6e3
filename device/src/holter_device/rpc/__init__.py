"""The wire: each module serves one service, and only translates."""
