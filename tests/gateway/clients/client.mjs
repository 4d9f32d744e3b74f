// The official TypeScript client of the legacy era (@modelcontextprotocol/sdk 1.x), driven from the command line.
//
//   node client.mjs URL PLAN
//
// PLAN and output are those of client.py.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { carryOut } from './plan.mjs';

const [url, text] = process.argv.slice(2);
const plan = JSON.parse(text), asked = [];
const capabilities = plan.answers ? { sampling: {}, elicitation: {} } : {};
const client = new Client({ name: 'mcpeg-tests', version: '1.0.0' }, { capabilities });
if (plan.answers) {
  client.setRequestHandler(CreateMessageRequestSchema, async request => { asked.push(request.method); return { role: 'assistant', model: 'test', content: { type: 'text', text: 'a sample' } }; });
  client.setRequestHandler(ElicitRequestSchema, async request => { asked.push(request.method); return { action: 'accept', content: { name: 'Alice' } }; });
}
const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
const done = await carryOut(client, plan);
const protocol = transport.protocolVersion;
// Ends the session by DELETE, as a well-behaved client does; a gateway that cannot do that fails here.
await transport.terminateSession();
await client.close();
process.stdout.write(`${JSON.stringify({ protocol, ...done, asked })}\n`);
