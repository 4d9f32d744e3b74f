// Clients of TypeScript, each of which lives as long as its input and does what the lines of that say.
//
//   node driven.mjs PACKAGE=URL...
//
// PACKAGE is a version of @modelcontextprotocol/sdk (1.x), @modelcontextprotocol/client (2.x), or mcp-remote, which is a
// program between a client over stdio and the URL. Input, output and AUTHORIZATION are those of driven.py.
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const info = { name: 'mcpeg-tests', version: '1.0.0' };
// As long as a client waits by itself is no answer.
const patient = { timeout: 3_600_000 };
// What a URL is asked with.
const init = url => (url.startsWith('https:') ? { requestInit: { headers: { Authorization: process.env.AUTHORIZATION } } } : {});

async function first(state) {
  const { kind, url } = state;
  const sdk = kind === 'mcp-remote' ? '@modelcontextprotocol/sdk' : kind;
  const { Client } = await import(`${sdk}/client/index.js`);
  const { ToolListChangedNotificationSchema } = await import(`${sdk}/types.js`);
  const client = new Client(info, { capabilities: {} });
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => { state.changes += 1; });
  let transport;
  if (kind === 'mcp-remote') {
    const { StdioClientTransport } = await import(`${sdk}/client/stdio.js`);
    const program = fileURLToPath(import.meta.resolve('mcp-remote/dist/proxy.js'));
    const how = url.endsWith('/sse') ? 'sse-only' : 'http-only';
    const header = url.startsWith('https:') ? ['--header', 'Authorization:${AUTHORIZATION}'] : [];
    const args = [program, url, '--allow-http', '--transport', how, ...header];
    transport = new StdioClientTransport({ command: process.execPath, args, env: process.env, stderr: 'inherit' });
  } else if (url.endsWith('/sse')) {
    const { SSEClientTransport } = await import(`${sdk}/client/sse.js`);
    transport = new SSEClientTransport(new URL(url));
  } else {
    const { StreamableHTTPClientTransport } = await import(`${sdk}/client/streamableHttp.js`);
    transport = new StreamableHTTPClientTransport(new URL(url), init(url));
  }
  await client.connect(transport, patient);
  const call = (name, args, onprogress) => client.callTool({ name, arguments: args }, undefined, { ...patient, onprogress });
  return { client, call, protocol: transport.protocolVersion ?? null };
}

async function second(state) {
  const { kind, url } = state;
  const { Client, SSEClientTransport, StreamableHTTPClientTransport } = await import(kind);
  const listChanged = { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => { state.changes += 1; } } };
  const client = new Client(info, { listChanged, versionNegotiation: { mode: 'auto' } });
  const Transport = url.endsWith('/sse') ? SSEClientTransport : StreamableHTTPClientTransport;
  await client.connect(new Transport(new URL(url)), patient);
  const call = (name, args, onprogress) => client.callTool({ name, arguments: args }, { ...patient, onprogress });
  return { client, call, protocol: client.getNegotiatedProtocolVersion() };
}

const states = process.argv.slice(2).map(argument => {
  const [kind, url] = argument.split('=');
  return { kind, url, changes: 0 };
});

async function carryOut(state, command) {
  if (command.do === 'open') {
    state.changes = 0;
    state.opened = await (state.kind === '@modelcontextprotocol/client' ? second : first)(state);
    return state.opened.protocol;
  }
  if (command.do === 'changes') return state.changes;
  if (command.do === 'list') return (await state.opened.client.listTools({}, patient)).tools.map(tool => tool.name);
  let told = 0;
  const result = await state.opened.call(command.name, command.arguments, () => { told += 1; });
  if (result.isError) throw new Error(result.content[0].text);
  return [result.content[0].text, told];
}

process.on('unhandledRejection', error => console.error('unhandled:', error));
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  carryOut(states[command.at], command).then(ok => ({ ok }), error => ({ error: String(error?.message ?? error) }))
    .then(said => process.stdout.write(`${JSON.stringify({ id: command.id, ...said })}\n`));
}
process.exit(0);
