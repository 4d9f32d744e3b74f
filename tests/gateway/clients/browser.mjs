// Opens a page of one origin after the other in a browser, and says what a client on each of them could do.
//
//   node browser.mjs CHROMIUM PORT PAGE URL HOST...
//
// What runs is PAGE, a module beside this one. It is served on PORT; the browser takes that for that port of each HOST. Prints
// an array of what PAGE reports; it goes on to `next`, where there is one.
// The page is told the token of the variable TOKEN, if there is one.
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const [chromium, port, page, url, ...hosts] = process.argv.slice(2);
const entryPoints = [fileURLToPath(import.meta.resolve(`./${page}`))];
const { outputFiles: [script] } = await build({ entryPoints, bundle: true, write: false, format: 'esm', platform: 'browser' });
const reports = [];
let browser;

const server = createServer(async (request, response) => {
  if (request.method === 'POST') {
    let body = '';
    for await (const chunk of request) body += chunk;
    reports.push(JSON.parse(body));
    response.end();
    if (reports.length === hosts.length) {
      process.stdout.write(`${JSON.stringify(reports)}\n`, () => { browser.kill('SIGKILL'); process.exit(0); });
    }
    return;
  }
  const isScript = request.url === '/page.js';
  response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
  response.end(isScript ? script.text : '<!doctype html><script type="module" src="/page.js"></script>');
});
server.listen(Number(port), '127.0.0.1', () => {
  const [first, ...rest] = hosts.map(host => `http://${host}:${port}/`);
  const search = new URLSearchParams({ url, token: process.env.TOKEN ?? '', ...(rest.length ? { next: rest[0] } : {}) });
  const options = ['--headless', '--no-sandbox', '--no-zygote', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', `--user-data-dir=${fileURLToPath(import.meta.resolve('./profile'))}`,
    `--host-resolver-rules=${hosts.map(host => `MAP ${host} 127.0.0.1`)}`];
  const library = `${chromium.slice(0, chromium.lastIndexOf('/'))}/lib`;
  browser = spawn(chromium, [...options, `${first}?${search}`],
    { env: { ...process.env, LD_LIBRARY_PATH: library }, stdio: ['ignore', 'ignore', 'inherit'] });
  browser.on('exit', code => { console.error('the browser ended:', code); process.exit(1); });
});
