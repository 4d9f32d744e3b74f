// Stands between the conformance suite and a merged endpoint, as a client that maps names would: what the suite calls by a
// server's own name is called by the name that the endpoint gives it, and lists show the server's own names again.
//   node names.mjs HOST:PORT PREFIX -> prints `listening on PORT`
import { createServer, request } from 'node:http';

const [address, prefix] = process.argv.slice(2), [host, port] = address.split(':');
const NAMED = ['tools/call', 'prompts/get'];

// A header's value under the prefix, in the form in which it came.
const header = value => {
  const inner = /^=\?base64\?(.*)\?=$/.exec(value)?.[1];
  return inner === undefined ? prefix + value : `=?base64?${Buffer.from(prefix + Buffer.from(inner, 'base64')).toString('base64')}?=`;
};

// The body under the endpoint's names, and whether its header names the same; what is no message passes as it is.
const outward = body => {
  try {
    const message = JSON.parse(body), ref = message.params?.ref, named = NAMED.includes(message.method);
    if (named && typeof message.params?.name === 'string') message.params.name = prefix + message.params.name;
    if (message.method === 'completion/complete' && ref?.type === 'ref/prompt') ref.name = prefix + ref.name;
    return [JSON.stringify(message), named];
  } catch { return [body, false]; }
};

const server = createServer(async (req, res) => {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const [body, named] = outward(Buffer.concat(chunks).toString());
  const headers = { ...req.headers };
  if (named && headers['mcp-name']) headers['mcp-name'] = header(headers['mcp-name']);
  delete headers['transfer-encoding'];
  if (req.method === 'POST') headers['content-length'] = Buffer.byteLength(body);
  const onward = request({ host, port, method: req.method, path: req.url, headers, agent: false }, answer => {
    const { 'content-length': _, 'transfer-encoding': __, connection: ___, ...rest } = answer.headers;
    res.writeHead(answer.statusCode, rest);
    res.flushHeaders();
    // Whole lines: a name is never cut.
    let text = '';
    const pass = end => {
      const cut = end ? text.length : text.lastIndexOf('\n') + 1;
      if (cut) res.write(text.slice(0, cut).replaceAll(`"name":"${prefix}`, '"name":"'));
      text = text.slice(cut);
    };
    answer.setEncoding('utf8').on('data', chunk => { text += chunk; pass(false); });
    answer.on('end', () => { pass(true); res.end(); }).on('error', () => res.destroy());
  });
  onward.on('error', () => res.destroy());
  // Closing its stream is how a client of 2026-07-28 cancels.
  res.on('close', () => onward.destroy());
  onward.end(body);
});
server.listen(0, '127.0.0.1', () => console.log('listening on', server.address().port));
