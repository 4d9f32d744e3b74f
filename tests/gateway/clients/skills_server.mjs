// A real server of skills: the official TypeScript SDK over stdio.
//
//   node skills_server.mjs FOLDER
import { McpServer } from '@modelcontextprotocol/server';
import { loadSkills } from '@modelcontextprotocol/server/ext/skills/node';
import { serveStdio } from '@modelcontextprotocol/server/stdio';

const skills = await loadSkills(process.argv[2], { pageSize: 1, strict: true });
serveStdio(() => {
  const server = new McpServer({ name: 'skills', version: '1.0.0' });
  skills.attach(server);
  return server;
});
