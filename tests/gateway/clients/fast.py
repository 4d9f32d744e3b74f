"""The client of fastmcp, driven from the command line.

    python fast.py URL MODE PLAN

Arguments and output are those of client.py.
"""

import asyncio
import json
import sys

from fastmcp import Client


def plain(result):
    """A result as JSON has it."""
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


def handlers(asked):
    """What answers the server's questions, and notes them."""

    async def sampling(messages, params, context):
        asked.append("sampling/createMessage")
        return "a sample"

    async def elicitation(message, response_type, params, context):
        asked.append("elicitation/create")
        return {"name": "Alice"}

    return {"sampling_handler": sampling, "elicitation_handler": elicitation}


async def main(url, mode, plan):
    """Connects, lists, carries the plan out, and says what came back."""
    asked = []
    able = handlers(asked) if plan.get("answers") else {}
    async with Client(url, mode=mode, timeout=30, **able) as client:
        # First: before the session's own connection has answered, lists are those that all see.
        calls = [plain(await client.call_tool_mcp(name, arguments)) for name, arguments in plan.get("calls", [])]
        tools = await client.list_tools()
        has = client.server_capabilities
        resources = await client.list_resources() if has.resources else []
        prompts = await client.list_prompts() if has.prompts else []
        return {
            "protocol": client.protocol_version,
            "server": client.server_info.name if client.server_info else None,
            "tools": [tool.name for tool in tools],
            "resources": len(resources),
            "prompts": len(prompts),
            "results": calls,
            "read": [{"contents": [plain(item) for item in await client.read_resource(uri)]} for uri in plan.get("reads", [])],
            "prompted": [plain(await client.get_prompt(name, arguments)) for name, arguments in plan.get("prompts", [])],
            "asked": asked,
        }


print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))))
