// What runs in the browser: a host of Apps, made of the official SDKs. It shows the page of each tool that has one, as each
// of the servers behind the address has written it, and presses the page's button, which has it call a tool of its server.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { AppBridge, PostMessageTransport, RESOURCE_MIME_TYPE, getToolUiResourceUri } from '@modelcontextprotocol/ext-apps/app-bridge';

// Resolves with what is found, as soon as it is.
const until = find => new Promise(found => {
  const look = () => { const it = find(); if (it) found(it); else setTimeout(look, 20); };
  look();
});

// Shows a page and presses its button: what its host has asked for it, and what the page shows of the answer.
async function show(client, tool) {
  const { contents: [page] } = await client.readResource({ uri: getToolUiResourceUri(tool) });
  const result = await client.callTool({ name: tool.name, arguments: {} });
  const frame = document.createElement('iframe');
  frame.sandbox = 'allow-scripts allow-same-origin';
  frame.srcdoc = page.text;
  const bridge = new AppBridge(client, { name: 'host', version: '1.0.0' }, { serverTools: {}, logging: {} });
  const ready = new Promise(done => { bridge.oninitialized = done; });
  // The page speaks as soon as it runs.
  document.body.append(frame);
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  await ready;
  await bridge.sendToolInput({ arguments: {} });
  await bridge.sendToolResult(result);
  const shows = text => until(() => frame.contentDocument.body.innerText.includes(text));
  await shows(result.structuredContent.time);
  // The bridge passes on what the page asks by itself.
  const { request } = client;
  const asked = new Promise(done => {
    client.request = (message, ...rest) => {
      const answer = request.call(client, message, ...rest);
      answer.then(({ structuredContent }) => done([message.params.name, structuredContent.time]), error => done([message.params.name, error.code]));
      return answer;
    };
  });
  frame.contentDocument.querySelector('#get-time-btn').click();
  const [name, told] = await asked;
  client.request = request;
  await shows(typeof told === 'string' ? told : '[ERROR]');
  await bridge.close();
  return { tool: tool.name, page: page.uri, type: page.mimeType, asked: name, refused: typeof told === 'string' ? null : told };
}

async function use(url) {
  const extensions = { 'io.modelcontextprotocol/ui': { mimeTypes: [RESOURCE_MIME_TYPE] } };
  const client = new Client({ name: 'host', version: '1.0.0' }, { capabilities: { extensions }, versionNegotiation: { mode: 'auto' } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  const { tools } = await client.listTools();
  const pages = [];
  for (const tool of tools.filter(getToolUiResourceUri)) pages.push(await show(client, tool));
  const report = { revision: client.getNegotiatedProtocolVersion(), tools: tools.map(tool => tool.name), pages };
  await client.close();
  return report;
}

const { url } = Object.fromEntries(new URLSearchParams(location.search));
const reports = [];
for (const one of url.split(' ')) reports.push(await use(one).catch(error => ({ error: String(error) })));
await fetch('/report', { method: 'POST', body: JSON.stringify(reports) });
