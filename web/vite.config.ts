import { svelte } from '@sveltejs/vite-plugin-svelte';
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

const target = process.env.MICROTOME_URL;

export default defineConfig({
  base: './',
  plugins: [svelte(), standIn()],
  json: { stringify: true },
  build: { target: 'es2022', assetsInlineLimit: 0, chunkSizeWarningLimit: 600 },
  server: { proxy: target ? { '/api': target, '/healthz': target } : undefined },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
} as Parameters<typeof defineConfig>[0]);
