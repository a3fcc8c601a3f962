/**
 * Runs the browser tests. Against a running server: MICROTOME_URL=http://127.0.0.1:8571 npm run e2e. Without it the
 * built page is served by the stand-in server (build first).
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { serve } from '../dev/mock-server.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const server = process.env.MICROTOME_URL ? null : await serve(0);
const url = process.env.MICROTOME_URL ?? `http://127.0.0.1:${server.address().port}`;
const files = readdirSync(here)
  .filter((f) => f.endsWith('.e2e.mjs'))
  .map((f) => join(here, f));
// Arguments go to node's test runner: npm run e2e -- --test-name-pattern=keyboard
const child = spawn(process.execPath, ['--test', '--test-concurrency=1', ...process.argv.slice(2), ...files], {
  stdio: 'inherit',
  env: { ...process.env, MICROTOME_URL: url },
});
child.on('exit', (code) => {
  server?.close();
  process.exit(code ?? 1);
});
