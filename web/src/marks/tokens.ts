/** Tokens shown exactly: a space as a faint dot, a newline as ↵, a tab as ⇥, bytes that are no text as hex. Pure. */
export interface Piece {
  text: string;
  faint: boolean;
}

const RAW = /<0x([0-9A-Fa-f]{2})>/;
// What no face draws: control, format and unassigned characters, other spaces, and what stands for bytes that are no UTF-8.
const HIDDEN = /[\p{C}\p{Z}\ufffd]/u;

function shown(character: string): Piece {
  if (character === ' ') return { text: '·', faint: true };
  if (character === '\n') return { text: '↵', faint: true };
  if (character === '\r') return { text: '␍', faint: true };
  if (character === '\t') return { text: '⇥', faint: true };
  if (HIDDEN.test(character)) {
    return { text: `<U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}>`, faint: true };
  }
  return { text: character, faint: false };
}

export function pieces(token: string): Piece[] {
  const out: Piece[] = [];
  for (let rest = token; rest; ) {
    const raw = RAW.exec(rest);
    const plain = raw ? rest.slice(0, raw.index) : rest;
    for (const character of plain) {
      const piece = shown(character);
      const last = out[out.length - 1];
      if (last && last.faint === piece.faint) last.text += piece.text;
      else out.push(piece);
    }
    if (!raw) break;
    out.push({ text: raw[1].toUpperCase(), faint: true });
    rest = rest.slice(raw.index + raw[0].length);
  }
  return out.length ? out : [{ text: '∅', faint: true }];
}

export function visible(token: string): string {
  return pieces(token)
    .map((p) => p.text)
    .join('');
}
