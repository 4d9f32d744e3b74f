"""The official Python client (mcp 2.x), driven from the command line.

    python client.py URL MODE CALLS

MODE is the client's own: `auto` (discovers the era), `legacy`, or a revision such as `2026-07-28`. CALLS is a JSON
array of [tool name, arguments]. Prints one JSON object: the negotiated protocol version, the server's name, the names of the listed tools in
order, and each call's result.
"""

import asyncio
import json
import sys

from mcp import Client


async def main(url: str, mode: str, calls: list) -> dict:
    """Connects, lists every page of tools, makes the calls, and says what came back."""
    async with Client(url, mode=mode, read_timeout_seconds=30) as client:
        tools, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            tools += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                break
        results = []
        for name, arguments in calls:
            result = await client.call_tool(name, arguments)
            results.append(result.model_dump(mode="json", by_alias=True, exclude_none=True))
        server = client.server_info
        return {
            "protocol": client.protocol_version,
            "server": server.name if server else None,
            "tools": tools,
            "results": results,
        }


print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))))
