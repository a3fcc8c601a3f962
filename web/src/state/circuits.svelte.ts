/** The long work of the views about circuits: one of each kind, shared by all parts of a view. */
import * as types from '../api/circuit_types';
import { lens } from '../api/types';
import { app } from './app.svelte';
import { Query } from './query.svelte';
import { Work } from './work.svelte';

export const heads = new Work('heads', types.heads, 'heads');
export const pairs = new Work('weights', types.pairs, 'heads');
export const spectra = new Work('weights', types.spectra, 'heads');
export const composition = new Work('weights', types.composition, 'heads');
export const patch = new Work('patch', types.patch, 'patch');
export const circuit = new Work('circuit', types.circuit, 'circuits');
export const evaluation = new Work('circuit', types.circuit, 'circuits');
export const paths = new Work('paths', types.paths, 'circuits');
export const neurons = new Work('neurons', types.neurons, 'circuits');
/** Prompts of a task, and the list of tasks. */
export const tasks = new Work('tasks', types.tasks, 'circuits');
export const examples = new Query('tasks', types.taskPrompts);

/** Two runs of one prompt to be set beside each other, and a third as their control. */
export class Trial {
  before = new Query('lens', lens);
  after = new Query('lens', lens);
  control = new Query('lens', lens);
  error = $derived(this.before.error ?? this.after.error ?? this.control.error);
  busy = $derived(this.before.busy || this.after.busy || this.control.busy);
  stop(): void {
    for (const q of [this.before, this.after, this.control]) q.stop();
  }
}
export const cellTrial = new Trial();
export const headTrial = new Trial();
export const swapTrial = new Trial();

export function withModel(body: object): object {
  return app.s.model ? { ...body, model: app.s.model } : body;
}
