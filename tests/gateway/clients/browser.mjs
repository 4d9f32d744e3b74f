// Opens pages of two origins in a browser, and says what a client on each of them could do.
//
//   node browser.mjs CHROMIUM PORT URL HOST HOST
//
// The pages are served on PORT; the browser takes it for that port of each HOST. The client on them shows the token of the variable
// TOKEN. Prints an array of what page.mjs reports.
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const [chromium, port, url, first, second] = process.argv.slice(2);
const entryPoints = [fileURLToPath(import.meta.resolve('./page.mjs'))];
const { outputFiles: [script] } = await build({ entryPoints, bundle: true, write: false, format: 'esm', platform: 'browser' });
const reports = [];
let browser;

const server = createServer(async (request, response) => {
  if (request.method === 'POST') {
    let body = '';
    for await (const chunk of request) body += chunk;
    reports.push(JSON.parse(body));
    response.end();
    if (reports.length === 2) {
      process.stdout.write(`${JSON.stringify(reports)}\n`, () => { browser.kill('SIGKILL'); process.exit(0); });
    }
    return;
  }
  const isScript = request.url === '/page.js';
  response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
  response.end(isScript ? script.text : '<!doctype html><script type="module" src="/page.js"></script>');
});
server.listen(Number(port), '127.0.0.1', () => {
  const search = new URLSearchParams({ url, token: process.env.TOKEN, next: `http://${second}:${port}/` });
  const options = ['--headless', '--no-sandbox', '--no-zygote', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
    '--disable-background-networking', `--user-data-dir=${fileURLToPath(import.meta.resolve('./profile'))}`,
    `--host-resolver-rules=MAP ${first} 127.0.0.1, MAP ${second} 127.0.0.1`];
  const library = `${chromium.slice(0, chromium.lastIndexOf('/'))}/lib`;
  browser = spawn(chromium, [...options, `http://${first}:${port}/?${search}`],
    { env: { ...process.env, LD_LIBRARY_PATH: library }, stdio: ['ignore', 'ignore', 'inherit'] });
  browser.on('exit', code => { console.error('the browser ended:', code); process.exit(1); });
});
