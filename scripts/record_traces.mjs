#!/usr/bin/env node
/**
 * Records what the page shows before the model answers: asks a running server for exactly what the start page and the
 * first look ask, and writes web/src/recorded/traces.json. Run `npm ci` in web/ first.
 *
 *     build/bin/microtome serve smollm2-135m &
 *     node scripts/record_traces.mjs http://127.0.0.1:8571
 *
 * It fails, and writes nothing, if the start page's experiment does not do on this model what the page says it does.
 */
import { writeFile, rename, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { tmpdir } from "node:os";

const web = fileURLToPath(new URL("../web/", import.meta.url));
const { build } = createRequire(join(web, "package.json"))("esbuild");
const server = (process.argv[2] ?? "http://127.0.0.1:8571").replace(/\/$/, "");
const provisional = process.argv.includes("--provisional");

/** The page's own request builders, so that the page finds every answer under the same key. */
async function pageCode() {
  const folder = await mkdtemp(join(tmpdir(), "microtome-record-"));
  const outfile = join(folder, "requests.mjs");
  const contents =
    "export * from './recorded_requests'; export * from './recorded'; export { default as experiment } from '../experiment.json';";
  await build({
    stdin: { contents, resolveDir: join(web, "src/api"), loader: "ts" },
    bundle: true,
    format: "esm",
    outfile,
    logLevel: "error",
  });
  const code = await import(pathToFileURL(outfile).href);
  await rm(folder, { recursive: true });
  return code;
}

async function ask({ command, body }) {
  const response = await fetch(`${server}/api/${command}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok)
    throw new Error(`${command}: ${answer.error?.message ?? response.status}`);
  return answer;
}

/** The part of an answer that the page reads. */
function kept(command, answer, packLens) {
  if (command === "lens") return packLens(answer);
  if (command === "inspect") return { config: answer.config };
  if (command === "models")
    return {
      models: answer.models.map(({ path, ...rest }) => ({
        ...rest,
        path: path?.split(/[\\/]/).pop(),
      })),
    };
  const { n_layers, n_heads, tokens, layers, patterns } = answer;
  return { n_layers, n_heads, tokens, layers, patterns };
}

const {
  recordedRequests,
  packLens,
  riseBody,
  startEdit,
  startControl,
  experiment,
} = await pageCode();

const says = async (edits) => {
  const { cells } = await ask({
    command: "lens",
    body: riseBody(experiment.answer, edits),
  });
  return cells.at(-1).at(-1).top[0].text;
};
const found = [
  await says([]),
  await says([startEdit]),
  await says([startControl]),
];
const expected = [
  experiment.answer,
  experiment.flippedAnswer,
  experiment.answer,
];
if (found.join("|") !== expected.join("|")) {
  console.error(
    `record_traces: the experiment gives ${JSON.stringify(found)}, web/src/experiment.json says ${JSON.stringify(expected)}; correct that file`,
  );
  process.exit(1);
}

const recordings = [];
for (const request of recordedRequests()) {
  recordings.push({
    ...request,
    answer: kept(request.command, await ask(request), packLens),
    ...(provisional ? { provisional } : {}),
  });
}
const file = join(web, "src/recorded/traces.json");
await writeFile(
  `${file}.part`,
  `[\n${recordings.map((r) => JSON.stringify(r)).join(",\n")}\n]\n`,
);
await rename(`${file}.part`, file);
console.log(
  `${recordings.length} answers written to web/src/recorded/traces.json`,
);
