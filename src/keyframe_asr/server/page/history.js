// What the page keeps: the last minutes of sound and picture, and all text.
import { BANDS, FRAMES, LogMel, RATE } from "./signal.js";

export const KEPT_SECONDS = 600;

// The last `size` values of a sequence; places count from its beginning.
export class Ring {
  constructor(Type, size) { this.values = new Type(size); this.end = 0; }

  get first() { return Math.max(0, this.end - this.values.length); }

  push(block) {
    const size = this.values.length, place = this.end % size, fits = Math.min(block.length, size - place);
    this.values.set(block.subarray(0, fits), place);
    this.values.set(block.subarray(fits), 0);
    this.end += block.length;
  }

  slice(from, to) {
    const size = this.values.length, [a, b] = [Math.max(from, this.first), Math.min(to, this.end)];
    const found = new this.values.constructor(Math.max(0, b - a));
    for (let k = 0; k < found.length; k++) found[k] = this.values[(a + k) % size];
    return found;
  }
}

export class Sound {
  constructor() { this.clear(); }

  clear() {
    this.samples = new Ring(Int16Array, KEPT_SECONDS * RATE);
    this.energies = new Ring(Uint8Array, KEPT_SECONDS * FRAMES * BANDS);
    this.logMel = new LogMel();
    this.levels = new Float64Array(256); // how often each energy was there lately
  }

  get first() { return Math.ceil(this.samples.first / RATE * FRAMES) / FRAMES; }
  get seconds() { return this.samples.end / RATE; }

  push(samples) { // Int16Array at 16 kHz
    this.samples.push(samples);
    const energies = this.logMel.push(samples);
    this.energies.push(energies);
    const fade = .9995 ** (energies.length / BANDS);
    for (let level = 0; level < 256; level++) this.levels[level] *= fade;
    for (const level of energies) this.levels[level]++;
  }

  picture(from, to) { // seconds; returns the energies, and where they begin
    const first = Math.max(this.energies.first / BANDS, Math.floor(from * FRAMES));
    const last = Math.min(this.energies.end / BANDS, Math.ceil(to * FRAMES));
    return { from: first / FRAMES, energies: this.energies.slice(first * BANDS, Math.max(first, last) * BANDS) };
  }

  get range() { // the darkest and the brightest energy
    const all = this.levels.reduce((sum, count) => sum + count, 0);
    const at = share => {
      let sum = 0;
      return Math.max(0, this.levels.findIndex(count => (sum += count) >= share * all));
    };
    const high = at(.998);
    return [Math.min(at(.3), high - 60), high];
  }

  part(from, to) { // seconds; Float32Array
    return Float32Array.from(this.samples.slice(Math.round(from * RATE), Math.round(to * RATE)), value => value / 32768);
  }
}

const only = some => some && some.length === 1 ? some[0] : "";
const shifted = (one, by) => ({ ...one, start: one.start + by, end: one.end + by });

// Utterances: { start, end, text, language, words, tokens, keyframes, frames, frameSeconds }, in order; the
// current one also has what may still change as `partial`. Times are those of the page.
export class Text {
  constructor() { this.clear(); }

  clear() { this.utterances = []; this.current = null; this.begin(0, null); }

  begin(offset, ready) { // a stream; its time 0 is `offset` in the page
    this.offset = offset;
    this.ready = ready;
    this.run = this.utterances.length;
  }

  get all() { return this.current ? [...this.utterances, this.current] : this.utterances; }

  partial(message) {
    const now = this.offset + message.seconds, by = this.offset;
    const over = this.utterances.length > this.run ? this.utterances.at(-1).end : by;
    const isNew = time => time >= over; // the last tokens of an utterance may come with its final text
    const tokens = (message.tokens || []).map(one => shifted(one, by)).filter(one => isNew(one.start));
    if (!this.current && !message.text && !message.partial && !tokens.length && message.start == null) return;
    if (!this.current) {
      const start = message.start != null ? by + message.start : tokens.length ? tokens[0].start : now;
      this.current = {
        start, end: now, text: "", partial: "", words: [], tokens: [], keyframes: [], frames: 0,
        frameSeconds: this.ready.frame_seconds, delay: this.ready.emission_delay, language: only(this.ready.languages),
      };
    }
    const current = this.current;
    if (message.start != null) current.start = Math.min(current.start, by + message.start);
    current.end = Math.max(current.end, now);
    current.text = message.text || "";
    current.partial = message.partial || "";
    current.tokens.push(...tokens);
    current.keyframes.push(...(message.keyframes || []).map(time => time + by).filter(isNew));
    current.frames = Math.round((current.end - current.start) / current.frameSeconds);
    if (message.start === null && !current.text && !current.partial && !tokens.length) this.current = null;
  }

  final({ transcript }) {
    const by = this.offset, { frame_seconds: frameSeconds, emission_delay: delay } = this.ready;
    const segments = transcript.segments || [], tokens = transcript.tokens || [];
    const first = segments[0] || tokens[0], last = segments.at(-1) || tokens.at(-1);
    const start = transcript.start ?? (first ? first.start : 0), end = transcript.end ?? (last ? last.end : start);
    this.current = null;
    const keyframes = (transcript.keyframes || []).map(time => time + by);
    const frames = transcript.frames ?? Math.round((end - start) / frameSeconds);
    const utterance = {
      start: start + by, end: end + by, text: transcript.text, partial: "",
      language: transcript.language || only(this.ready.languages),
      words: segments.flatMap(one => one.words || []).map(one => shifted(one, by)),
      tokens: tokens.map(one => shifted(one, by)), keyframes, frames, frameSeconds, delay,
    };
    this.utterances.push(utterance);
    return utterance;
  }

  keepCurrent() { // the stream broke off: what was heard of the utterance is its text
    const current = this.current;
    this.current = null;
    if (!current || !(current.text + current.partial).trim()) return null;
    const utterance = { ...current, text: (current.text + current.partial).trim(), partial: "" };
    this.utterances.push(utterance);
    return utterance;
  }

  get counts() { // of the stream: [keyframes, frames]
    const run = this.all.slice(this.run);
    return [run.reduce((sum, one) => sum + one.keyframes.length, 0), run.reduce((sum, one) => sum + one.frames, 0)];
  }
}
