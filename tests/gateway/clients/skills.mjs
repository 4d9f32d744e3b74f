// A real host of skills: the official TypeScript SDK, which checks each entry and the size and digest of each file.
//
//   node skills.mjs URL MODE
//
// MODE is how the client negotiates. Prints the revision and, for each skill, its files and those of its directory.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { SkillsClient } from '@modelcontextprotocol/client/ext/skills';

const [url, mode] = process.argv.slice(2);
const client = new Client({ name: 'host', version: '1.0.0' }, { capabilities: {}, versionNegotiation: { mode } });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const host = new SkillsClient(client);
const found = {};
for (const listed of (await host.list()).skills) {
  const { skill } = await host.get(listed.uri);
  const root = skill.uri.slice(0, skill.uri.lastIndexOf('/'));
  const files = {};
  for (const { uri } of skill.resources) {
    const file = await host.read(skill, uri);
    files[uri.slice(root.length + 1)] = [file.verified, Buffer.from(file.bytes).toString('base64')];
  }
  const { resources } = await host.readDirectory(root);
  found[skill.uri] = { name: skill.frontmatter.name, files, directory: resources.map(resource => resource.uri) };
}
const refused = await host.get('skill://nobody/SKILL.md').then(() => 'found', error => error.code);
const answer = { supported: host.supported, revision: client.getNegotiatedProtocolVersion(), found, refused };
await client.close();
process.stdout.write(`${JSON.stringify(answer)}\n`);
