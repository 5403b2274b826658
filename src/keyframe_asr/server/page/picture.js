// The picture: spectrogram, keyframes, spikes, tokens and encoder frames of the sound that is kept.
import { BANDS, FRAMES } from "./signal.js";

const HEIGHT = 338, TOP = 22, SPECTROGRAM = 158, LABELS = 200, PLOT_TOP = 216, PLOT = 46, CELLS = 290, CELL = 20;
const SCALE = 100; // pixels a second
const COLOURS = 8;

export const shown = token => token.text.replaceAll("▁", " ").trim() || "␣";

// What a keyframe stands for: the token nearest to it, or nothing.
export function spikesOf({ tokens, keyframes, frameSeconds, delay }) {
  let next = 0;
  return [...keyframes].sort((a, b) => a - b).map(time => {
    while (next < tokens.length && tokens[next].start + delay < time - 1.5 * frameSeconds) next++;
    const near = next < tokens.length && Math.abs(tokens[next].start + delay - time) <= 1.5 * frameSeconds;
    return near ? { time, token: tokens[next], number: next++ } : { time, token: null, number: -1 };
  });
}

export const colourOf = number => number < 0 ? -1 : number % COLOURS;

export class Picture {
  constructor(chart, space, canvas, head, sound, text) {
    Object.assign(this, { chart, space, canvas, head, sound, text });
    this.following = true;
    this.first = 0;
    this.steered = 0; // where this page has scrolled to
    this.place = null;
    chart.addEventListener("scroll", () => {
      const end = chart.scrollWidth - chart.clientWidth;
      if (Math.abs(chart.scrollLeft - this.steered) > 2) this.following = chart.scrollLeft > end - 30;
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(chart);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  time(x) { // of a place in the window
    return this.first + (x - this.space.getBoundingClientRect().left) / SCALE;
  }

  get left() { return this.first + this.chart.scrollLeft / SCALE; } // time at the left edge

  steer(x) {
    this.chart.scrollLeft = x;
    this.steered = this.chart.scrollLeft;
  }

  move(place, isSteering) { // to the place of the playback, in seconds; null hides it
    this.place = place;
    this.head.hidden = place === null;
    if (place === null) return;
    const x = (place - this.first) * SCALE, from = x - this.chart.scrollLeft;
    this.head.style.transform = `translateX(${x}px)`;
    if (!isSteering) return;
    if (from < 0 || from > .95 * this.chart.clientWidth) {
      this.following = false;
      this.steer(x - .1 * this.chart.clientWidth);
    }
  }

  draw() {
    const width = this.chart.clientWidth, before = this.first;
    if (!width) return;
    this.first = this.sound.first;
    const whole = Math.max(width, Math.ceil((this.sound.seconds - this.first) * SCALE));
    if (this.whole !== whole) this.space.style.width = (this.whole = whole) + "px";
    if (this.following) this.steer(whole - width);
    else if (before !== this.first) this.steer(this.chart.scrollLeft - (this.first - before) * SCALE);
    const pen = drawing.penOf(this.canvas, width, HEIGHT);
    const from = this.left, to = from + width / SCALE, at = time => (time - from) * SCALE;
    this.drawSound(pen, from, to, at);
    const labels = [];
    let frameSeconds = null;
    for (const one of this.text.all)
      if (one.end >= from - 1 && one.start <= to + 1) {
        labels.push(...this.drawUtterance(pen, one, from, to, at));
        frameSeconds = one.frameSeconds;
      }
    drawing.labels(pen, labels, LABELS, at(this.first) + 2, at(this.first) + whole - 2);
    drawing.titles(pen, [
      ["log-mel spectrogram, keyframes as lines", 15],
      [`${frameSeconds ? drawing.rate(frameSeconds) : "encoder frames"}, kept ones filled`, CELLS - 9],
    ]);
    drawing.axis(pen, from, to, SCALE, HEIGHT - 8, at(this.first) + whole);
  }

  drawSound(pen, from, to, at) {
    const { from: first, energies } = this.sound.picture(from, to);
    const count = energies.length / BANDS;
    if (!count) {
      pen.fillStyle = drawing.css("--card");
      pen.fillRect(0, TOP, this.chart.clientWidth, SPECTROGRAM);
      return;
    }
    const box = { x: at(first), y: TOP, width: count / FRAMES * SCALE, height: SPECTROGRAM };
    drawing.spectrogram(pen, energies, BANDS, box, ...this.sound.range);
  }

  drawUtterance(pen, one, from, to, at) { // returns the labels
    const step = one.frameSeconds, kept = new Set(), labels = [];
    const spikes = spikesOf(one).filter(({ time }) => time >= from - 1 && time <= to + 1);
    const line = drawing.css("--line");
    for (let u = Math.max(0, Math.floor((from - one.start) / step)); u < one.frames; u++) {
      if (one.start + u * step > to) break;
      drawing.cell(pen, at(one.start + u * step), CELLS, step * SCALE, CELL, line);
    }
    for (const { time, token, number } of spikes) {
      const colour = drawing.colour(colourOf(number)), x = at(time);
      drawing.keyframe(pen, x, TOP, TOP + SPECTROGRAM, CELLS, colour);
      this.drawSpike(pen, x, step * SCALE, token ? token.confidence ?? 1 : .12, colour);
      const u = Math.round((time - one.start) / step);
      if (!kept.has(u)) drawing.cell(pen, at(one.start + u * step), CELLS, step * SCALE, CELL, colour);
      kept.add(u);
      if (token) labels.push({ text: shown(token), x, colour });
    }
    return labels;
  }

  drawSpike(pen, x, step, height, colour) { // as high as the token is sure
    const bottom = PLOT_TOP + PLOT;
    pen.beginPath();
    pen.moveTo(x - 1.6 * step, bottom);
    pen.quadraticCurveTo(x - .4 * step, bottom, x, bottom - PLOT * height);
    pen.quadraticCurveTo(x + .4 * step, bottom, x + 1.6 * step, bottom);
    pen.fillStyle = pen.strokeStyle = colour;
    pen.globalAlpha = .3; pen.fill(); pen.globalAlpha = 1;
    pen.lineWidth = 1.5; pen.stroke();
  }
}
