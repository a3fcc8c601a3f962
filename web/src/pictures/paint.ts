/** Paints a Scene on a canvas at the screen's own resolution. */
import { MONO, SANS, type Mark, type Scene } from '../marks/scene';

function image(m: Extract<Mark, { kind: 'pixels' }>): HTMLCanvasElement {
  const small = document.createElement('canvas');
  small.width = m.cols;
  small.height = m.rows;
  small.getContext('2d')?.putImageData(new ImageData(m.rgba as Uint8ClampedArray<ArrayBuffer>, m.cols, m.rows), 0, 0);
  return small;
}

function mark(c: CanvasRenderingContext2D, m: Mark): void {
  switch (m.kind) {
    case 'rect':
      c.beginPath();
      if (m.radius) c.roundRect(m.x, m.y, m.w, m.h, m.radius);
      else c.rect(m.x, m.y, m.w, m.h);
      if (m.fill) {
        c.fillStyle = m.fill;
        c.fill();
      }
      if (m.stroke) {
        c.strokeStyle = m.stroke;
        c.lineWidth = m.width ?? 1;
        c.stroke();
      }
      return;
    case 'text':
      c.font = `${m.bold ? '600 ' : ''}${m.size}px ${m.mono ? MONO : SANS}`;
      c.textAlign = m.anchor === 'middle' ? 'center' : m.anchor === 'end' ? 'right' : 'left';
      c.fillStyle = m.fill;
      if (!m.rotate) {
        c.fillText(m.text, m.x, m.y);
        return;
      }
      c.save();
      c.translate(m.x, m.y);
      c.rotate((m.rotate * Math.PI) / 180);
      c.fillText(m.text, 0, 0);
      c.restore();
      return;
    case 'path': {
      const path = new Path2D(m.d);
      c.globalAlpha = m.opacity ?? 1;
      if (m.fill) {
        c.fillStyle = m.fill;
        c.fill(path);
      }
      if (m.stroke) {
        c.strokeStyle = m.stroke;
        c.lineWidth = m.width ?? 1;
        c.setLineDash((m.dash ?? '').split(' ').filter(Boolean).map(Number));
        c.stroke(path);
        c.setLineDash([]);
      }
      c.globalAlpha = 1;
      return;
    }
    case 'pixels':
      c.imageSmoothingEnabled = false;
      c.drawImage(image(m), m.x, m.y, m.w, m.h);
  }
}

export function paint(canvas: HTMLCanvasElement, scene: Scene): void {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(scene.width * ratio);
  canvas.height = Math.round(scene.height * ratio);
  canvas.style.width = `${scene.width}px`;
  canvas.style.height = `${scene.height}px`;
  const c = canvas.getContext('2d');
  if (!c) return;
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, scene.width, scene.height);
  for (const m of scene.marks) mark(c, m);
}

export function save(name: string, content: string | Blob, type: string): void {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = Object.assign(document.createElement('a'), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
