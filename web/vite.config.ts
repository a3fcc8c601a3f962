import { svelte } from '@sveltejs/vite-plugin-svelte';
import { readFileSync } from 'node:fs';
import { defineConfig, type Plugin } from 'vite';
// @ts-expect-error plain JavaScript: the stand-in server has no types
import { handle } from './dev/mock-server.mjs';

/** `npm run dev` needs no model: the stand-in server answers /api, unless MICROTOME_URL names a real one. */
function standIn(): Plugin {
  return {
    name: 'stand-in-server',
    configureServer(server) {
      if (process.env.MICROTOME_URL) return;
      server.middlewares.use((req, res, next) => {
        if (req.url?.startsWith('/api/') || req.url === '/healthz') void handle(req, res);
        else next();
      });
    },
  };
}

/** The licences of what is shipped inside the bundle, beside it. */
function licences(): Plugin {
  const shipped = { svelte: 'LICENSE.md', '@fontsource/ibm-plex-sans': 'LICENSE', '@fontsource/ibm-plex-mono': 'LICENSE' };
  return {
    name: 'licences',
    generateBundle() {
      const texts = Object.entries(shipped).map(
        ([name, file]) => `${name}\n\n${readFileSync(`node_modules/${name}/${file}`, 'utf8')}`,
      );
      this.emitFile({ type: 'asset', fileName: 'licenses.txt', source: texts.join('\n\n----\n\n') });
    },
  };
}

const target = process.env.MICROTOME_URL;

export default defineConfig({
  base: './',
  plugins: [svelte(), standIn(), licences()],
  json: { stringify: true },
  build: { target: 'es2022', assetsInlineLimit: 0, chunkSizeWarningLimit: 600 },
  server: { proxy: target ? { '/api': target, '/healthz': target } : undefined },
  test: { include: ['src/**/*.test.ts'], environment: 'node', testTimeout: 60_000 },
} as Parameters<typeof defineConfig>[0]);
