"""Clients of Python, each of which lives as long as its input and does what the lines of that say.

    python driven.py KIND=URL...

KIND is the name of a class below, which speaks HTTP+SSE where the URL ends in `/sse`, and sends the header `Authorization` of the
variable AUTHORIZATION where it begins with `https:`. A line of input is one JSON object:
`id`, `at` (which of them), `do` and what that needs; the line that answers has the `id`, and `ok` or `error`:

    {"do": "open"}                                  connect, again too; the agreed revision if the client tells it
    {"do": "list"}                                  the names of the tools
    {"do": "call", "name": …, "arguments": {…}}     [the text of the result, how often progress was told]
    {"do": "changes"}                               how often the list of tools was said to have changed; null if that hangs

What is not done within DEADLINE seconds fails as `hangs`.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import sys
import tempfile

DEADLINE = 50


class Official:
    """The session of the official SDK (mcp 1.x)."""

    def __init__(self, url):
        self.url, self.events, self.changes, self.hangs = url, url.endswith("/sse"), 0, False
        self.headers = {"Authorization": os.environ["AUTHORIZATION"]} if url.startswith("https:") else {}

    async def enter(self, stack):
        """Connects, for as long as the stack is there; returns the revision."""
        from mcp import ClientSession

        if self.events:
            from mcp.client.sse import sse_client as connect
        else:
            from mcp.client.streamable_http import streamablehttp_client as connect
        streams = await stack.enter_async_context(connect(self.url, headers=self.headers))
        self.session = await stack.enter_async_context(ClientSession(*streams[:2], message_handler=self.told))
        return (await self.session.initialize()).protocolVersion

    async def told(self, message):
        """Takes what the server tells by itself."""
        self.changes += type(getattr(message, "root", message)).__name__ == "ToolListChangedNotification"

    async def names(self):
        """The names of the tools."""
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def call(self, name, arguments, progress):
        """Calls a tool; the text of its result."""
        return text(await self.session.call_tool(name, arguments, progress_callback=progress))


class Second(Official):
    """The client of the official SDK (mcp 2.x)."""

    mode = "auto"

    async def enter(self, stack):
        from mcp import Client
        from mcp.client.sse import sse_client

        server, mode = (sse_client(self.url), "legacy") if self.events else (self.url, self.mode)
        self.session = await stack.enter_async_context(Client(server, mode=mode, message_handler=self.told))
        if self.session.protocol_version.startswith("2026"):
            self.following = asyncio.create_task(self.follow())
        return self.session.protocol_version

    async def follow(self):
        """Follows the list of tools in the manner of 2026-07-28, which leaves it to the client to ask again at the end."""
        while True:
            async with self.session.listen(tools_list_changed=True) as events:
                async for _ in events:
                    self.changes += 1
            # It may have changed in between.
            self.changes += 1


class SecondLegacy(Second):
    """The same with a session."""

    mode = "legacy"


class LangChain(Official):
    """langchain-mcp-adapters."""

    async def enter(self, stack):
        from langchain_mcp_adapters.callbacks import Callbacks
        from langchain_mcp_adapters.client import MultiServerMCPClient

        self.progress, self.callbacks = {}, Callbacks(on_progress=self.progressed)
        transport = "sse" if self.events else "streamable_http"
        settings = {"transport": transport, "url": self.url, "headers": self.headers, "session_kwargs": {"message_handler": self.told}}
        client = MultiServerMCPClient({"mcpeg": settings}, callbacks=self.callbacks)
        self.session = await stack.enter_async_context(client.session("mcpeg"))
        self.tools = await self.load()

    async def load(self):
        """The tools by name."""
        from langchain_mcp_adapters.tools import load_mcp_tools

        return {tool.name: tool for tool in await load_mcp_tools(self.session, callbacks=self.callbacks)}

    async def progressed(self, progress, total, message, context):
        """Takes the progress of a call."""
        await self.progress[context.tool_name]()

    async def names(self):
        self.tools = await self.load()
        return list(self.tools)

    async def call(self, name, arguments, progress):
        self.progress[name] = progress
        return (await self.tools[name].ainvoke(arguments))[0]["text"]


class PydanticAI(Official):
    """The toolset of pydantic-ai, which stands on fastmcp."""

    async def enter(self, stack):
        from pydantic_ai.mcp import MCPToolset

        toolset = MCPToolset(self.url, message_handler=self.told, progress_handler=self.progressed, tool_error_behavior="error")
        self.session = await stack.enter_async_context(toolset)

    async def progressed(self, *_):
        """Takes the progress of a call; which one's it is not said, and one is made at a time."""
        await self.progress()

    async def call(self, name, arguments, progress):
        self.progress = progress
        return str(await self.session.direct_call_tool(name, arguments))

    async def names(self):
        return [tool.name for tool in await self.session.list_tools()]


class OpenAIAgents(Official):
    """The MCP servers of openai-agents, which tell no progress."""

    async def enter(self, stack):
        from agents.mcp import MCPServerSse, MCPServerStreamableHttp

        kind = MCPServerSse if self.events else MCPServerStreamableHttp
        server = kind({"url": self.url}, client_session_timeout_seconds=None, message_handler=self.told)
        self.session = await stack.enter_async_context(server)

    async def call(self, name, arguments, progress):
        return text(await self.session.call_tool(name, arguments))

    async def names(self):
        return [tool.name for tool in await self.session.list_tools()]


class SemanticKernel(Official):
    """The plugins of semantic-kernel, which tell no progress."""

    async def enter(self, stack):
        from semantic_kernel.connectors import mcp

        kind = mcp.MCPSsePlugin if self.events else mcp.MCPStreamableHttpPlugin
        client = self

        class Plugin(kind):
            """Counts, and does what it would do."""

            async def message_handler(self, message):
                try:
                    # It is run where answers are taken in, and asks for the tools there: it would wait for ever.
                    await asyncio.wait_for(super().message_handler(message), 2)
                    await client.told(message)
                except TimeoutError:
                    client.hangs = True

        self.session = await stack.enter_async_context(Plugin(name="mcpeg", url=self.url))

    async def call(self, name, arguments, progress):
        return str((await self.session.call_tool(name, **arguments))[0])

    async def names(self):
        return [remote for kind, remote in self.session._mcp_registered_names.values() if kind == "tool"]


# There is no model, and nothing is asked of the network.
CODEX = """
model = "none"
model_provider = "none"
check_for_update_on_startup = false
analytics.enabled = false
mcp_servers.mcpeg.url = "{url}"
mcp_servers.mcpeg.tool_timeout_sec = 3600

[model_providers.none]
name = "none"
base_url = "http://127.0.0.1:9"
"""


class Codex(Official):
    """The MCP client of the program codex, whose app-server calls tools without a model too, and so without a key."""

    async def enter(self, stack):
        home = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        pathlib.Path(home, "config.toml").write_text(CODEX.format(url=self.url))
        large = pathlib.Path(sys.prefix).parent
        self.process = await asyncio.create_subprocess_exec(
            large.parent / "bin/node", large / "node_modules/@openai/codex/bin/codex.js", "app-server",
            env={"CODEX_HOME": home, "HOME": home, "PATH": os.environ["PATH"]}, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, limit=1 << 24)
        # It ends with its input.
        stack.push_async_callback(self.process.wait)
        stack.callback(self.process.stdin.close)
        self.asked, self.reading = [], asyncio.create_task(self.read())
        await self.ask("initialize", clientInfo={"name": "mcpeg-tests", "version": "1.0.0"})
        thread = await self.ask("thread/start", cwd=home, ephemeral=True)
        self.thread = thread["thread"]["id"]

    async def read(self):
        """Hands out the answers; the ids are the places in the list."""
        async for line in self.process.stdout:
            message = json.loads(line)
            if "method" not in message:
                self.asked[message["id"]].set_result(message)

    async def ask(self, method, **params):
        """One request of the app-server."""
        answer = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        request = {"id": len(self.asked) - 1, "method": method, "params": params}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        message = await answer
        if "error" in message:
            raise RuntimeError(message["error"]["message"])
        return message["result"]

    async def call(self, name, arguments, progress):
        result = await self.ask(
            "mcpServer/tool/call", threadId=self.thread, server="mcpeg", tool=name, arguments=arguments)
        if result.get("isError"):
            raise RuntimeError(result["content"][0]["text"])
        return result["content"][0]["text"]

    async def names(self):
        answer = await self.ask("mcpServerStatus/list", threadId=self.thread, serverName="mcpeg")
        return list(answer["data"][0]["tools"])


def text(result):
    """The text of a result; one that tells of an error is one."""
    if getattr(result, "isError", getattr(result, "is_error", False)):
        raise RuntimeError(result.content[0].text)
    return result.content[0].text


class Connection:
    """A client of one kind; another one after each `open`."""

    def __init__(self, argument):
        self.kind, _, self.url = argument.partition("=")
        self.ends = asyncio.Event()

    async def live(self, client, opened, ends):
        """Enters and leaves a client in one task, as the libraries want it."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                opened.set_result(await client.enter(stack))
                await ends.wait()
        except BaseException as error:
            if not opened.done():
                opened.set_exception(RuntimeError(repr(error)))
            elif not ends.is_set():
                print("the client ended:", repr(error), file=sys.stderr)

    async def do(self, command):
        """Does what one line says."""
        if command["do"] == "open":
            self.ends.set()
            self.client, self.ends = globals()[self.kind](self.url), asyncio.Event()
            opened = asyncio.get_running_loop().create_future()
            self.task = asyncio.create_task(self.live(self.client, opened, self.ends))
            return await opened
        if command["do"] == "list":
            return await self.client.names()
        if command["do"] == "changes":
            return None if self.client.hangs else self.client.changes
        told = []

        async def progress(*_):
            told.append(None)

        result = await self.client.call(command["name"], command["arguments"], progress)
        return [result, len(told)]


# Imports hold everything up, and a client that connects meanwhile takes that for a server that does not answer.
opening = asyncio.Lock()


async def answer(connection, command):
    """Does what a line says and prints how that went."""
    deadline = asyncio.timeout(DEADLINE)
    try:
        async with opening if command["do"] == "open" else contextlib.nullcontext(), deadline:
            said = {"ok": await connection.do(command)}
    except BaseException as error:
        said = {"error": "hangs" if deadline.expired() else f"{type(error).__name__}: {error}"}
    print(json.dumps({"id": command["id"], **said}), flush=True)


async def main():
    """Follows the input to its end."""
    connections, tasks, loop = [Connection(argument) for argument in sys.argv[1:]], set(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        tasks.add(asyncio.create_task(answer(connections[command["at"]], command)))
    os._exit(0)


asyncio.run(main())
