"""A server of the official Python SDK (mcp 1.x), as its users write them.

    python server.py stdio|sse

Over HTTP+SSE it serves on a free port of loopback, and prints a line that ends with it.
"""

import os
import pathlib
import socket
import sys

import anyio
import uvicorn
from mcp.server.fastmcp import Context, FastMCP

server = FastMCP("clients", log_level="ERROR")


@server.tool()
def echo(text: str) -> str:
    """Answers with the text that it was given."""
    return text


@server.tool()
def pid() -> str:
    """Names its process."""
    return str(os.getpid())


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Reports progress as it counts. The pauses are for TypeScript: it forgets a call's progress once it has the result."""
    for step in range(to):
        await ctx.report_progress(step + 1, to)
        await anyio.sleep(0.05)
    return "counted"


@server.tool()
async def wait(begun: str, until: str) -> str:
    """Makes a file, and waits until another one is there."""
    pathlib.Path(begun).touch()
    while not os.path.exists(until):
        await anyio.sleep(0.01)
    return "waited"


if sys.argv[1] == "stdio":
    server.run()
else:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print("listening on", listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(server.sse_app(), log_level="error")).run(sockets=[listener])
