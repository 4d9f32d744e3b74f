// The official TypeScript client of both eras (@modelcontextprotocol/client 2.x), driven from the command line.
//
//   node client2.mjs URL CALLS
//
// Negotiates by itself (`auto`). Arguments and output are those of client.mjs.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const [url, calls] = process.argv.slice(2);
const client = new Client({ name: 'mcpeg-tests', version: '1.0.0' }, { capabilities: {}, versionNegotiation: { mode: 'auto' } });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));

const tools = [];
let cursor;
do {
  const page = await client.listTools(cursor === undefined ? {} : { cursor });
  tools.push(...page.tools.map(tool => tool.name));
  cursor = page.nextCursor;
} while (cursor !== undefined);

const results = [];
for (const [name, args] of JSON.parse(calls)) results.push(await client.callTool({ name, arguments: args }));
const protocol = client.getNegotiatedProtocolVersion();
const server = client.getServerVersion()?.name ?? null;
await client.close();
process.stdout.write(`${JSON.stringify({ protocol, server, tools, results })}\n`);
