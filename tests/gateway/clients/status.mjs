// Looks at the status page in a browser, in several sizes, light and dark, with and without scripts.
//
//   node status.mjs CHROMIUM URL
//
// Prints an array of what there is to say about each: what the console has, by how much the page is too wide, faults that axe-core
// finds serious, and what the page says of itself. With PICTURES, a directory, each is drawn to a file there.
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const [chromium, url] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const library = `${chromium.slice(0, chromium.lastIndexOf('/'))}/lib`;
const browser = spawn(chromium, ['--headless', '--no-sandbox', '--no-zygote', '--disable-gpu', '--disable-dev-shm-usage',
  '--no-first-run', '--disable-background-networking', '--hide-scrollbars', '--remote-debugging-pipe',
  `--user-data-dir=${fileURLToPath(import.meta.resolve('./profile'))}`],
  { env: { ...process.env, LD_LIBRARY_PATH: library }, stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
browser.on('exit', code => { console.error('the browser ended:', code); process.exit(1); });

// The browser's own protocol: JSON, each message with a zero behind it.
const [, , , to, from] = browser.stdio;
const asked = new Map();
let last = 0, rest = '', session, heard = () => {};
from.setEncoding('utf8').on('data', chunk => {
  const messages = (rest + chunk).split('\0');
  rest = messages.pop();
  for (const message of messages.map(text => JSON.parse(text))) {
    const { id, method, params, result, error } = message;
    if (id) error ? asked.get(id).reject(new Error(error.message)) : asked.get(id).resolve(result);
    else heard(method, params);
  }
});
const ask = (method, params = {}) => new Promise((resolve, reject) => {
  asked.set(++last, { resolve, reject });
  to.write(`${JSON.stringify({ id: last, method, params, sessionId: session })}\0`);
});
const evaluate = async (expression, waits = false) => {
  const told = await ask('Runtime.evaluate', { expression, awaitPromise: waits, returnByValue: true });
  if (told.exceptionDetails) throw new Error(JSON.stringify(told.exceptionDetails));
  return told.result.value;
};

const { targetId } = await ask('Target.createTarget', { url: 'about:blank' });
({ sessionId: session } = await ask('Target.attachToTarget', { targetId, flatten: true }));
await Promise.all(['Page', 'Runtime', 'Log'].map(domain => ask(`${domain}.enable`)));

const wanted = [
  [360, 'light', true], [360, 'dark', true], [1024, 'light', true], [1024, 'dark', true], [1920, 'light', true],
  [1920, 'dark', true], [360, 'dark', false], [1024, 'light', false], [1920, 'light', false],
];
const reports = [];
for (const [width, scheme, script] of wanted) {
  const said = [];
  let load;
  const loaded = new Promise(resolve => { load = resolve; });
  heard = (method, params) => {
    if (method === 'Page.loadEventFired') load();
    if (method === 'Log.entryAdded' && params.entry.level === 'error') said.push(params.entry.text);
    if (method === 'Runtime.exceptionThrown') said.push(params.exceptionDetails.text);
    if (method === 'Runtime.consoleAPICalled') said.push(params.type);
    if (method === 'Page.javascriptDialogOpening') said.push(params.message);
  };
  await Promise.all([
    ask('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: width < 500 }),
    ask('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] }),
    ask('Emulation.setScriptExecutionDisabled', { value: !script }),
  ]);
  await ask('Page.navigate', { url });
  await loaded;
  if (script) {
    await evaluate(`new Promise(done => {
      const live = document.getElementById('live');
      const look = () => live.textContent === 'Live' ? done() : setTimeout(look, 10);
      look();
    })`, true);
  }
  const page = await evaluate(`({
    wide: document.documentElement.scrollWidth - innerWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    live: document.getElementById('live').textContent,
    title: document.title,
    foreign: document.querySelectorAll('img, iframe, object, b:not(.why b), script:not([src]) ~ script').length,
    summary: document.querySelector('[role=status]').textContent,
  })`);
  // Without scripts, nothing that takes time goes on in the page. Colours and sizes have each been seen with these three.
  const isLookedAt = script && ['360 light', '1024 dark', '1920 light'].includes(`${width} ${scheme}`);
  const faults = !isLookedAt ? [] : await evaluate(`${axe}; axe.run({ resultTypes: ['violations'] }).then(({ violations }) => violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => id + ': ' + nodes.map(node => node.html.slice(0, 200)).join(' ')))`, true);
  reports.push({ width, scheme, script, said, faults, ...page });
  if (process.env.PICTURES) {
    const { data } = await ask('Page.captureScreenshot', { captureBeyondViewport: true });
    writeFileSync(`${process.env.PICTURES}/${width}-${scheme}${script ? '' : '-plain'}.png`, Buffer.from(data, 'base64'));
  }
}
process.stdout.write(`${JSON.stringify(reports)}\n`, () => { browser.kill('SIGKILL'); process.exit(0); });
