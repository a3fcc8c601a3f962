/**
 * The page's one state: what the address holds (`app.s`), what the pointer is on, whether the model answers, and the
 * queries that all views share. Views read from here and change it through the methods below.
 */
import { client } from '../api/client';
import * as types from '../api/types';
import { exactBody, lensBody, patternsBody, subjectOf, type Subject } from '../api/requests';
import { TOP } from '../api/recorded_requests';
import { depthOf, visibleColumns } from '../marks/lens';
import { decodePatterns, type Patterns } from '../marks/patterns';
import experiment from '../experiment.json';
import { lenses } from './lenses.svelte';
import { Query } from './query.svelte';
import type { Options } from './options';
import { fromHash, initialState, toHash, type State, type View } from './url';
import { leave } from './work.svelte';

/** Beyond this many tokens the map asks only for the columns it shows, and the heads only for one layer at a time. */
export const LONG = 128;

const defaults = initialState(experiment.prompt);

class App {
  s = $state<State>(fromHash(location.hash, defaults));
  /** 'absent' until the server says otherwise; recorded traces stand in meanwhile. */
  server = $state<'absent' | 'loading' | 'ok'>('absent');
  asked = $state(false);
  model = $state('');
  hover = $state<{ point: number; position: number } | null>(null);
  /** Name of the part of the page that a card is speaking of. */
  spoken = $state('');
  keysOpen = $state(false);
  /** What the arrow keys do in the open view, where that view says so. */
  mover: ((across: number, up: number) => boolean) | null = null;
  columns = $state.raw<number[]>([]);

  models = new Query('models', types.models);
  inspect = new Query('inspect', types.inspect);
  tokenize = new Query('tokenize', types.tokenize);
  lens = new Query('lens', types.lens);
  edited = new Query('lens', types.lens);
  patterns = new Query<types.PatternsJson, Patterns>('patterns', types.patterns, decodePatterns);
  exact = new Query('patterns', types.exactPattern);

  live = $derived(this.server === 'ok');
  config = $derived<types.Config | null>(this.inspect.data?.config ?? null);
  modelName = $derived(this.s.model || this.model.split(/[\\/]/).pop() || this.models.data?.models[0]?.name || 'smollm2-135m');
  tokens = $derived<types.Token[]>(this.lens.data?.tokens ?? this.patterns.data?.tokens ?? []);
  /** The lens that the selection speaks of: with edits, unless only "before" is shown. */
  shown = $derived<types.Lens | null>(
    this.s.edits.length && this.s.show !== 'before' && this.edited.data ? this.edited.data : this.lens.data,
  );
  nLayers = $derived(this.config?.n_layers ?? this.patterns.data?.nLayers ?? 30);
  nHeads = $derived(this.config?.n_heads ?? this.patterns.data?.nHeads ?? 9);

  /** The prompt, and the ids behind it once the model has written on. */
  get subject(): Subject {
    const { prompt, chat, generated } = this.s;
    const ids = this.tokenize.data?.ids;
    return { prompt, chat, tokens: generated.length && ids ? [...ids, ...generated] : null };
  }

  /** The fitted lens that is looked through; null: the logit lens. */
  get through() {
    return lenses.of(this.s.options.lens);
  }

  get selectedPoint(): number {
    const last = (this.shown?.points.length ?? 1) - 1;
    return Math.min(this.s.point ?? last, last);
  }

  get selectedPosition(): number {
    const last = this.tokens.length - 1;
    return Math.max(0, Math.min(this.s.position ?? last, last));
  }

  /** Changes the state; `push` makes a step that the back button returns from. */
  go(change: Partial<State>, push = false): void {
    Object.assign(this.s, change);
    if (change.view) leave(change.view);
    this.address(push);
  }

  /** Changes what a view about circuits lets a person choose. */
  set(change: Partial<Options>, push = false): void {
    Object.assign(this.s.options, change);
    this.address(push);
  }

  address(push: boolean): void {
    const hash = toHash(this.s, defaults);
    if (hash === location.hash) return;
    if (push) history.pushState(null, '', hash);
    else history.replaceState(null, '', hash);
  }

  /** Reads the address again: after back, forward, or a link inside the page. */
  restore(): void {
    this.s = fromHash(location.hash, defaults);
    this.hover = null;
    leave(this.s.view);
  }

  open(view: View): void {
    this.go({ view }, true);
    document.querySelector('main')?.scrollTo?.(0, 0);
  }

  select(point: number, position: number): void {
    const layer = Math.ceil(depthOf(this.shown?.points[point] ?? ''));
    this.go({ point, position, ...(layer >= 0 ? { layer } : {}) });
  }

  setPrompt(prompt: string, rest: Partial<State> = {}): void {
    this.go({ prompt, generated: [], point: null, position: null, range: null, ...rest }, true);
  }

  addEdits(edits: types.Edit[]): void {
    this.go({ edits: [...this.s.edits, ...edits] }, true);
  }

  removeEdit(index: number): void {
    this.go({ edits: this.s.edits.filter((_, i) => i !== index) }, true);
  }

  follow(text: string): void {
    this.go(
      { follow: this.s.follow === text ? '' : text, ...(this.s.measure === 'rank' ? { measure: 'probability' } : {}) },
      true,
    );
  }

  /** Asks for what the open view shows. Runs as an effect, so it must read all that matters before it asks. */
  refresh(): void {
    const { view, edits, follow, allPoints, generated, layer, head, open } = this.s;
    const subject = this.subject;
    const live = this.live;
    if (live) this.tokenize.ask(withModel({ prompt: this.s.prompt, ...(this.s.chat ? { chat: true } : {}) }, this.s.model));
    if (generated.length && !subject.tokens) return;
    if (!this.s.prompt) return;
    if (view !== 'heads') for (const left of [this.patterns, this.exact]) left.stop();
    if (view !== 'look' && view !== 'heads') {
      for (const left of [this.lens, this.edited]) left.stop();
      return;
    }
    // A text that may be long is counted first: what to ask for depends on its length.
    if (this.s.prompt.length > LONG && (!live || this.tokenize.busy)) return;
    const length = (this.tokenize.data?.ids.length ?? 0) + generated.length;
    const shown = this.columns.at(-1) === length - 1 || this.s.range ? this.columns : visibleColumns(length, this.s.range, 700);
    const positions = length > LONG && shown.length < length ? shown : ('all' as const);
    if (live)
      lenses.look(this.modelName, (t) =>
        withModel(
          lensBody(
            { prompt: ' ', chat: false, tokens: null },
            { positions: 'last', top: 1, target: '', allPoints: false, through: t },
            [],
          ),
          this.s.model,
        ),
      );
    const through = this.through;
    const lens = (e: types.Edit[]) =>
      withModel(
        lensBody(subject, { positions, top: TOP, target: follow, allPoints: allPoints && !through, through }, e),
        this.s.model,
      );
    this.lens.ask(lens([]));
    if (edits.length) this.edited.ask(lens(edits));
    else if (this.edited.data || this.edited.error || this.edited.busy) this.edited.clear();
    if (view !== 'heads') return;
    this.patterns.ask(withModel(patternsBody(subject, edits, length > LONG ? [layer] : undefined), this.s.model));
    if (open && live) this.exact.ask(withModel(exactBody(subject, edits, layer, head), this.s.model));
  }

  /** Asks again for what failed. */
  retry(): void {
    Query.epoch++;
    this.refresh();
  }

  /** Asks the server for its health until it is there, then now and then. */
  async watch(): Promise<void> {
    for (;;) {
      try {
        const health = await client.health(AbortSignal.timeout(4000));
        this.model = health.model ?? this.model;
        if (health.status === 'ok' && this.server !== 'ok') Query.epoch++;
        this.server = health.status;
      } catch (error) {
        // A server at work may be slow to answer; one that refuses is gone.
        const slow = error instanceof DOMException && error.name === 'TimeoutError';
        if (!slow || this.server !== 'ok') this.server = 'absent';
      }
      this.asked = true;
      await new Promise((done) => setTimeout(done, this.server === 'ok' ? 10_000 : 1000));
    }
  }

  async saveActivations(): Promise<Blob> {
    return client.blob(
      'trace',
      withModel({ ...subjectOf(this.subject), sites: 'blocks.*.hook_resid_post', edits: this.s.edits }, this.s.model),
    );
  }
}

function withModel(body: object, model: string): object {
  return model ? { ...body, model } : body;
}

export const app = new App();
