// The official TypeScript client of the legacy era (@modelcontextprotocol/sdk 1.x), driven from the command line.
//
//   node client.mjs URL CALLS
//
// CALLS is a JSON array of [tool name, arguments]. Prints one JSON object: the negotiated protocol version, the
// server's name, the names of the listed tools in order, and each call's result.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const [url, calls] = process.argv.slice(2);
const client = new Client({ name: 'mcpeg-tests', version: '1.0.0' }, { capabilities: {} });
const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);

const tools = [];
let cursor;
do {
  const page = await client.listTools(cursor === undefined ? {} : { cursor });
  tools.push(...page.tools.map(tool => tool.name));
  cursor = page.nextCursor;
} while (cursor !== undefined);

const results = [];
for (const [name, args] of JSON.parse(calls)) results.push(await client.callTool({ name, arguments: args }));
const protocol = transport.protocolVersion;
// Ends the session by DELETE, as a well-behaved client does; a gateway that cannot do that fails here.
await transport.terminateSession();
await client.close();
process.stdout.write(`${JSON.stringify({ protocol, server: client.getServerVersion()?.name ?? null, tools, results })}\n`);
