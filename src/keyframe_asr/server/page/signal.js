// Sound: another sample rate, and the log-mel energies that the picture shows.

export const RATE = 16000;
export const BANDS = 80, FRAMES = 100; // of the picture: bands, frames a second

const ZEROS = 64, CUT = .96, BETA = 9; // of the low-pass: zero crossings on each side, cut-off, Kaiser's β

function bessel(x) { // modified, of order 0
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) { term *= (x / (2 * k)) ** 2; sum += term; }
  return sum;
}

const divisor = (a, b) => b ? divisor(b, a % b) : a;

// Brings blocks from one sample rate to 16 kHz: windowed-sinc interpolation below the lower of the
// two Nyquist frequencies (90 dB down 0.2 kHz above 8 kHz).
export class Resampler {
  constructor(rate) {
    const common = divisor(rate, RATE);
    this.up = RATE / common;
    this.down = rate / common;
    this.cutoff = CUT * Math.min(1, RATE / rate);
    this.half = Math.ceil(ZEROS / this.cutoff);
    this.phases = new Map();
    this.rest = new Float32Array(this.half); // silence before the beginning
    this.first = -this.half; // place of rest[0] in the input
    this.next = 0; // number of the next output
  }

  kernel(phase) {
    if (!this.phases.has(phase)) {
      const taps = new Float32Array(2 * this.half);
      let sum = 0;
      for (let k = 0; k < taps.length; k++) {
        const t = k - this.half + 1 - phase / this.up, x = Math.PI * this.cutoff * t;
        const inside = Math.max(0, 1 - (t / this.half) ** 2);
        taps[k] = (x ? Math.sin(x) / x : 1) * bessel(BETA * Math.sqrt(inside));
        sum += taps[k];
      }
      this.phases.set(phase, taps.map(tap => tap / sum));
    }
    return this.phases.get(phase);
  }

  push(block) {
    if (this.up === this.down) return block;
    const input = new Float32Array(this.rest.length + block.length), output = [];
    input.set(this.rest);
    input.set(block, this.rest.length);
    const place = () => Math.floor(this.next * this.down / this.up) - this.half + 1 - this.first;
    while (place() + 2 * this.half <= input.length) {
      const taps = this.kernel(this.next * this.down % this.up), from = place();
      let sum = 0;
      for (let k = 0; k < taps.length; k++) sum += taps[k] * input[from + k];
      output.push(sum);
      this.next++;
    }
    const needless = Math.max(0, place());
    this.rest = input.slice(needless);
    this.first += needless;
    return Float32Array.from(output);
  }

  finish() { return this.push(new Float32Array(this.up === this.down ? 0 : this.half)); }
}

export function pcm16(samples) {
  return Int16Array.from(samples, value => Math.max(-32768, Math.min(32767, Math.round(value * 32768))));
}

const SIZE = 512, WINDOW = 400, HOP = RATE / FRAMES, EMPHASIS = .97;

// Log-mel energies of 25 ms windows every 10 ms as bytes, frame by frame: 8 for each factor e.
export class LogMel {
  constructor() {
    this.rest = new Float32Array(0);
    this.window = Float32Array.from({ length: WINDOW }, (_, k) =>
      (.5 - .5 * Math.cos(2 * Math.PI * k / (WINDOW - 1))) ** .85);
    this.cos = Float32Array.from({ length: SIZE / 2 }, (_, k) => Math.cos(2 * Math.PI * k / SIZE));
    this.sin = Float32Array.from({ length: SIZE / 2 }, (_, k) => -Math.sin(2 * Math.PI * k / SIZE));
    this.order = Uint16Array.from({ length: SIZE }, (_, k) =>
      parseInt(k.toString(2).padStart(9, "0").split("").reverse().join(""), 2));
    this.real = new Float32Array(SIZE);
    this.imaginary = new Float32Array(SIZE);
    const mel = hertz => 1127 * Math.log(1 + hertz / 700);
    const low = mel(20), step = (mel(RATE / 2) - low) / (BANDS + 1);
    this.filters = Array.from({ length: BANDS }, (_, band) => {
      const weights = [];
      for (let bin = 0; bin <= SIZE / 2; bin++) {
        const weight = 1 - Math.abs(mel(bin * RATE / SIZE) - low - (band + 1) * step) / step;
        if (weight > 0) weights.push([bin, weight]);
      }
      return weights;
    });
  }

  push(samples) { // Int16Array
    const all = new Float32Array(this.rest.length + samples.length);
    all.set(this.rest);
    all.set(samples, this.rest.length);
    const count = Math.max(0, Math.floor((all.length - WINDOW) / HOP) + 1);
    const energies = new Uint8Array(count * BANDS);
    for (let t = 0; t < count; t++) this.frame(all.subarray(t * HOP, t * HOP + WINDOW), energies.subarray(t * BANDS));
    this.rest = all.slice(count * HOP);
    return energies;
  }

  frame(samples, energies) {
    const { real, imaginary, order, cos, sin } = this;
    let mean = 0;
    for (const value of samples) mean += value / WINDOW;
    real.fill(0); imaginary.fill(0);
    for (let k = 0; k < WINDOW; k++)
      real[order[k]] = (samples[k] - mean - EMPHASIS * (samples[Math.max(0, k - 1)] - mean)) * this.window[k];
    for (let size = 2; size <= SIZE; size *= 2) {
      const half = size / 2, stride = SIZE / size;
      for (let start = 0; start < SIZE; start += size)
        for (let k = 0; k < half; k++) {
          const a = start + k, b = a + half, c = cos[k * stride], s = sin[k * stride];
          const re = real[b] * c - imaginary[b] * s, im = real[b] * s + imaginary[b] * c;
          real[b] = real[a] - re; imaginary[b] = imaginary[a] - im;
          real[a] += re; imaginary[a] += im;
        }
    }
    this.filters.forEach((weights, band) => {
      let sum = 1;
      for (const [bin, weight] of weights) sum += weight * (real[bin] ** 2 + imaginary[bin] ** 2);
      energies[band] = Math.min(255, Math.round(8 * Math.log(sum)));
    });
  }
}
