"""The official Python client (mcp 2.x), driven from the command line.

    python client.py URL MODE PLAN

MODE is the client's own: `auto` (discovers the era), `legacy`, or a revision such as `2026-07-28`. PLAN is a JSON object: `calls` is an
array of [tool name, arguments], `reads` one of URIs, `prompts` one of [name, arguments]; with `answers` the client answers what it is
asked. Prints one JSON object: the negotiated protocol version, the server's name, the names of the listed tools in order, the number of
resources and prompts, the results, and the methods that it was asked.
"""

import asyncio
import json
import sys

from mcp import Client, MCPError, types


def plain(result):
    """A result as JSON has it."""
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def every(list_page, items, offered=True):
    """All pages of a list; none where it is not offered. A client of one revision has not asked what is."""
    found, cursor = [], None
    while offered or sys.argv[2].startswith("2"):
        try:
            page = await list_page(cursor=cursor)
        except MCPError:
            if offered:
                raise
            return found
        found += getattr(page, items)
        cursor = page.next_cursor
        if not cursor:
            break
    return found


def handlers(asked):
    """What answers the server's questions, and notes them."""

    async def sampling(context, params):
        asked.append("sampling/createMessage")
        return types.CreateMessageResult(role="assistant", model="test", content=types.TextContent(type="text", text="a sample"))

    async def elicitation(context, params):
        asked.append("elicitation/create")
        return types.ElicitResult(action="accept", content={"name": "Alice"})

    return {"sampling_callback": sampling, "elicitation_callback": elicitation}


async def main(url, mode, plan):
    """Connects, lists every page, carries the plan out, and says what came back."""
    asked = []
    able = handlers(asked) if plan.get("answers") else {}
    async with Client(url, mode=mode, read_timeout_seconds=30, **able) as client:
        # First: before the session's own connection has answered, lists are those that all see.
        results = [plain(await client.call_tool(name, arguments)) for name, arguments in plan.get("calls", [])]
        tools = await every(client.list_tools, "tools")
        has = client.server_capabilities
        resources = await every(client.list_resources, "resources", bool(has.resources))
        prompts = await every(client.list_prompts, "prompts", bool(has.prompts))
        server = client.server_info
        return {
            "protocol": client.protocol_version,
            "server": server.name if server else None,
            "tools": [tool.name for tool in tools],
            "resources": len(resources),
            "prompts": len(prompts),
            "results": results,
            "read": [plain(await client.read_resource(uri)) for uri in plan.get("reads", [])],
            "prompted": [plain(await client.get_prompt(name, arguments)) for name, arguments in plan.get("prompts", [])],
            "asked": asked,
        }


print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))))
