"""Goals 14 and 16: what the API adds to a bare FastAPI, and how lists and files grow.

__main__   both databases, one after the other; what is written and shown
servers    a database, our API and the bare one on it, each a process
bare       the peer: FastAPI and the same queries, nothing else
asking     a contestant: so many clients on kept connections, each asking again and again
memory     how large a process is and was
growth     seconds and memory of uploads, validation, batch output and list pages by size
validating one dataset or batch file judged in a process of its own
shown      sections and plots for docs/performance.md
"""
