// Where sound comes from: the microphone, and recordings.
import { KEPT_SECONDS } from "./history.js";
import { RATE, Resampler, pcm16 } from "./signal.js";

const BLOCK = RATE / 10; // samples that are sent at once

export class SourceError extends Error {}

const REFUSALS = {
  NotAllowedError: "The microphone is not allowed here. Allow it in the browser’s settings for this page, or choose a file.",
  NotFoundError: "There is no microphone. Connect one, or choose a file.",
  NotReadableError: "Another program uses the microphone. Close it, or choose a file.",
};

export const MICROPHONE_MISSING = !window.isSecureContext
  ? "A microphone needs https or localhost. Open this page there, or choose a file."
  : !navigator.mediaDevices || !window.AudioWorkletNode
    ? "This browser offers no microphone to pages. Use a current one, or choose a file." : "";

export class Microphone {
  static async open(context) {
    let media;
    try {
      media = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
    } catch (error) {
      throw new SourceError(REFUSALS[error.name] || `The microphone does not start: ${error.message}`);
    }
    try {
      await context.audioWorklet.addModule("page/recorder.js");
      return new Microphone(context, media);
    } catch (error) {
      media.getTracks().forEach(track => track.stop());
      throw new SourceError(`The microphone does not start: ${error.message}`);
    }
  }

  constructor(context, media) {
    this.media = media;
    this.rest = new Int16Array(0);
    this.resampler = new Resampler(context.sampleRate);
    this.source = context.createMediaStreamSource(media);
    this.node = new AudioWorkletNode(context, "recorder");
  }

  // Calls `take` with 16 kHz Int16Arrays of 100 ms until `stop`; the promise rejects if the device goes.
  start(take) {
    this.take = take;
    this.node.port.onmessage = event => this.add(this.resampler.push(event.data));
    this.source.connect(this.node);
    this.node.connect(this.node.context.destination); // silent; some browsers run only what is connected
    const gone = new SourceError("The microphone was disconnected. The text so far is kept.");
    return new Promise((_, reject) => {
      for (const track of this.media.getAudioTracks()) track.onended = () => reject(gone);
    });
  }

  add(samples) {
    const added = pcm16(samples), all = new Int16Array(this.rest.length + added.length);
    all.set(this.rest);
    all.set(added, this.rest.length);
    let place = 0;
    for (; place + BLOCK <= all.length; place += BLOCK) this.take(all.slice(place, place + BLOCK));
    this.rest = all.slice(place);
  }

  stop() {
    for (const track of this.media.getTracks()) { track.onended = null; track.stop(); }
    this.source.disconnect();
    this.node.disconnect();
    this.node.port.onmessage = null;
    this.add(this.resampler.finish());
    if (this.rest.length) this.take(this.rest);
  }
}

export async function decoded(content) { // ArrayBuffer to Int16Array at 16 kHz
  const Context = window.OfflineAudioContext || window.webkitOfflineAudioContext;
  const found = await new Context(1, 1, RATE).decodeAudioData(content);
  const mixed = new Float32Array(found.length);
  for (let channel = 0; channel < found.numberOfChannels; channel++) {
    const values = found.getChannelData(channel);
    for (let k = 0; k < mixed.length; k++) mixed[k] += values[k] / found.numberOfChannels;
  }
  return pcm16(mixed);
}

// The samples of a file; null if it is too long for a picture, or this browser cannot read it.
export async function samplesOf(file) {
  const seconds = await lengthOf(file);
  const short = isFinite(seconds) ? seconds <= KEPT_SECONDS : file.size <= 20e6;
  if (!short) return null;
  try {
    const samples = await decoded(await file.arrayBuffer());
    return samples.length <= KEPT_SECONDS * RATE ? samples : null;
  } catch {
    return null;
  }
}

function lengthOf(file) { // seconds; NaN if unknown
  return new Promise(resolve => {
    const player = new Audio(), address = URL.createObjectURL(file);
    const tell = () => {
      clearTimeout(late);
      const seconds = player.duration;
      player.removeAttribute("src");
      URL.revokeObjectURL(address);
      resolve(seconds);
    };
    const late = setTimeout(tell, 5000);
    player.preload = "metadata";
    player.onloadedmetadata = player.onerror = tell;
    player.src = address;
  });
}

// Sends samples as fast as the server takes them, or (`seconds`: the time that has passed) as they sound.
export async function sendAll(samples, stream, take, mayGoOn, seconds = null) {
  const pause = time => new Promise(resolve => setTimeout(resolve, time));
  for (let place = 0; place < samples.length && mayGoOn();) {
    const due = seconds ? seconds() * RATE + BLOCK : Infinity;
    if (place >= due || stream.behind > 64000 || !stream.isReady) { await pause(20); continue; }
    const length = seconds ? BLOCK : 5 * BLOCK;
    take(samples.subarray(place, place + length));
    place += length;
    if (!seconds) await pause(0); // the picture is drawn meanwhile
  }
}

// Plays what the page has kept.
export class Player {
  constructor(changed) { this.changed = changed; this.node = null; }

  play(context, samples, from, ended = () => {}) { // Float32Array at 16 kHz
    this.stop();
    if (!samples.length) return;
    const buffer = context.createBuffer(1, samples.length, RATE);
    buffer.copyToChannel(samples, 0);
    this.node = context.createBufferSource();
    this.node.buffer = buffer;
    this.node.connect(context.destination);
    this.node.onended = () => { this.stop(); ended(); };
    this.context = context;
    this.began = context.currentTime;
    this.from = from;
    this.node.start();
    this.changed();
  }

  get place() { return this.node ? this.from + this.passed : null; } // seconds of the page

  get passed() { return this.node ? this.context.currentTime - this.began : Infinity; }

  stop() {
    if (!this.node) return;
    this.node.onended = null;
    this.node.stop();
    this.node.disconnect();
    this.node = null;
    this.changed();
  }
}
