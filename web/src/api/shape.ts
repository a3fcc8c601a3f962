/**
 * Runtime checks of the server's JSON. A check takes an unknown value and returns it typed, or throws a ShapeError that
 * says where the value stands, what was found and what was expected:
 *
 *     const model = object({ name: text, layers: number });
 *     model(JSON.parse(body), 'inspect').layers
 *
 * Fields beyond those named are let through: the server may grow. Pure; safe anywhere.
 */
export type Check<T> = (value: unknown, path: string) => T;
export type Checked<C> = C extends Check<infer T> ? T : never;

export class ShapeError extends Error {
  constructor(path: string, expected: string, found: unknown) {
    const shown = found === undefined ? 'nothing' : (JSON.stringify(found) ?? String(found)).slice(0, 60);
    super(`the server's answer at ${path}: found ${shown}, expected ${expected}`);
    this.name = 'ShapeError';
  }
}

export const number: Check<number> = (v, path) => {
  if (typeof v !== 'number') throw new ShapeError(path, 'a number', v);
  return v;
};

export const text: Check<string> = (v, path) => {
  if (typeof v !== 'string') throw new ShapeError(path, 'text', v);
  return v;
};

export function nullable<T>(inner: Check<T>): Check<T | null> {
  return (v, path) => (v === null ? null : inner(v, path));
}

/** A field that may be absent or null; both come back as undefined. */
export function optional<T>(inner: Check<T>): Check<T | undefined> {
  return (v, path) => (v === undefined || v === null ? undefined : inner(v, path));
}

export function array<T>(inner: Check<T>): Check<T[]> {
  return (v, path) => {
    if (!Array.isArray(v)) throw new ShapeError(path, 'a list', v);
    for (let i = 0; i < v.length; i++) v[i] = inner(v[i], `${path}[${i}]`);
    return v as T[];
  };
}

type Fields = Record<string, Check<unknown>>;
type Absent<F extends Fields, K extends keyof F> = undefined extends Checked<F[K]> ? K : never;
type ObjectOf<F extends Fields> = { [K in keyof F as K extends Absent<F, K> ? never : K]: Checked<F[K]> } & {
  [K in keyof F as Absent<F, K>]?: Checked<F[K]>;
};

export function object<F extends Fields>(fields: F): Check<ObjectOf<F>> {
  const names = Object.keys(fields);
  return (v, path) => {
    if (typeof v !== 'object' || v === null || Array.isArray(v)) throw new ShapeError(path, 'an object', v);
    const source = v as Record<string, unknown>;
    for (const name of names) {
      const checked = fields[name](source[name], `${path}.${name}`);
      if (checked !== undefined || source[name] === null) source[name] = checked;
    }
    return source as ObjectOf<F>;
  };
}

export function oneOf<const T extends string>(...words: T[]): Check<T> {
  return (v, path) => {
    if (!words.includes(v as T)) throw new ShapeError(path, words.join(' or '), v);
    return v as T;
  };
}

/** An object whose fields are all of one kind. */
export function record<T>(inner: Check<T>): Check<Record<string, T>> {
  return (v, path) => {
    if (typeof v !== 'object' || v === null || Array.isArray(v)) throw new ShapeError(path, 'an object', v);
    const source = v as Record<string, unknown>;
    for (const name of Object.keys(source)) source[name] = inner(source[name], `${path}.${name}`);
    return source as Record<string, T>;
  };
}

/** Anything but nothing: what depends on the request, checked where it is used. */
export const shaped: Check<unknown> = (v, path) => {
  if (v === undefined) throw new ShapeError(path, 'a value', v);
  return v;
};

export const textOrTexts: Check<string | string[]> = (v, path) => (Array.isArray(v) ? array(text)(v, path) : text(v, path));
