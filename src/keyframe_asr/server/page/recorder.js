// Passes on the sound of the microphone, in blocks of about 40 ms at the rate of the device.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(sampleRate / 25));
    this.filled = 0;
  }

  process([channels]) {
    const length = channels.length ? channels[0].length : 0;
    for (let k = 0; k < length; k++) {
      let sum = 0;
      for (const channel of channels) sum += channel[k];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block, [this.block.buffer]);
        this.block = new Float32Array(Math.round(sampleRate / 25));
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
