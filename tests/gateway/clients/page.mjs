// What runs in the browser: the official TypeScript client (1.x), on a page that comes from somewhere else than the gateway.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

async function use(url, token) {
  const client = new Client({ name: 'page', version: '1.0.0' }, { capabilities: {} });
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { Authorization: `Bearer ${token}` } } });
  await client.connect(transport);
  const tools = (await client.listTools()).tools.map(tool => tool.name);
  const result = await client.callTool({ name: 'echo', arguments: { text: 'from a page' } });
  // A DELETE, which has a preflight of its own.
  await transport.terminateSession();
  await client.close();
  return { revision: transport.protocolVersion, tools, text: result.content[0].text };
}

const { url, next, token } = Object.fromEntries(new URLSearchParams(location.search));
const report = await use(url, token).catch(error => ({ error: String(error) }));
await fetch(`/report`, { method: 'POST', body: JSON.stringify(report) });
if (next) location.href = `${next}?${new URLSearchParams({ url, token })}`;
