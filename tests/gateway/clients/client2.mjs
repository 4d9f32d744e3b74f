// The official TypeScript client of both eras (@modelcontextprotocol/client 2.x), driven from the command line.
//
//   node client2.mjs URL PLAN
//
// Negotiates by itself (`auto`). PLAN and output are those of client.py.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { carryOut } from './plan.mjs';

const [url, text] = process.argv.slice(2);
const plan = JSON.parse(text), asked = [];
const capabilities = plan.answers ? { sampling: {}, elicitation: {} } : {};
const client = new Client({ name: 'mcpeg-tests', version: '1.0.0' }, { capabilities, versionNegotiation: { mode: 'auto' } });
if (plan.answers) {
  client.setRequestHandler('sampling/createMessage', async request => { asked.push(request.method); return { role: 'assistant', model: 'test', content: { type: 'text', text: 'a sample' } }; });
  client.setRequestHandler('elicitation/create', async request => { asked.push(request.method); return { action: 'accept', content: { name: 'Alice' } }; });
}
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const done = await carryOut(client, plan);
const protocol = client.getNegotiatedProtocolVersion();
await client.close();
process.stdout.write(`${JSON.stringify({ protocol, ...done, asked })}\n`);
