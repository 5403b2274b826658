"use strict";
// Pictures of speech on a canvas: spectrogram, keyframes, encoder frames, and labels over a time axis.
const drawing = (() => {
  // samples of the magma colour map
  const STOPS = [[0, 0, 4], [40, 17, 90], [101, 26, 128], [163, 48, 126], [223, 74, 104], [251, 137, 97], [254, 201, 141], [252, 253, 191]];
  const RAMP = Uint32Array.from({ length: 256 }, (_, value) => { // as pixels: alpha, blue, green, red
    const place = value / 255 * (STOPS.length - 1), low = Math.min(Math.floor(place), STOPS.length - 2);
    const [r, g, b] = STOPS[low].map((c, k) => Math.round(c + (STOPS[low + 1][k] - c) * (place - low)));
    return (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  });
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = number => css("--c" + number);
  const font = size => size + "px " + getComputedStyle(document.body).fontFamily;
  const small = document.createElement("canvas");

  // Makes the canvas sharp on this screen, and empties it; returns a pen whose unit is a CSS pixel.
  function penOf(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== across || canvas.height !== down) {
      canvas.style.width = width + "px"; canvas.style.height = height + "px";
      canvas.width = across; canvas.height = down;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return pen;
  }

  // energies: bytes, frame by frame, lowest band first; low and high have the darkest and the brightest colour
  function spectrogram(pen, energies, bands, { x, y, width, height }, low = 0, high = 255) {
    const count = energies.length / bands;
    if (!count) return;
    const image = new ImageData(count, bands), pixels = new Uint32Array(image.data.buffer);
    const ramp = RAMP.map((_, value) =>
      RAMP[Math.max(0, Math.min(255, Math.round(255 * (value - low) / Math.max(1, high - low))))]);
    for (let t = 0; t < count; t++)
      for (let band = 0; band < bands; band++)
        pixels[(bands - 1 - band) * count + t] = ramp[energies[t * bands + band]];
    small.width = count; small.height = bands;
    small.getContext("2d").putImageData(image, 0, 0);
    pen.drawImage(small, x, y, width, height);
  }

  // A keyframe: white over the spectrogram, in its colour from there down to the frames.
  function keyframe(pen, x, top, middle, bottom, colour) {
    pen.lineWidth = 1;
    pen.strokeStyle = "#ffffffd0";
    pen.beginPath(); pen.moveTo(x, top); pen.lineTo(x, middle); pen.stroke();
    pen.strokeStyle = colour; pen.globalAlpha = .55;
    pen.beginPath(); pen.moveTo(x, middle); pen.lineTo(x, bottom); pen.stroke();
    pen.globalAlpha = 1;
  }

  // An encoder frame with its centre at x; step is the distance of two.
  function cell(pen, x, y, step, height, colour) {
    const width = Math.max(1, .84 * step);
    pen.fillStyle = colour;
    pen.fillRect(x - width / 2, y, width, height);
  }

  function placed(centres, widths, left, right) { // labels without overlap, each near its centre
    const half = widths.map(width => width / 2), offsets = [];
    let sum = 0;
    widths.forEach((width, k) => { offsets.push(sum + half[k]); sum += width; });
    const wanted = centres.map((centre, k) => centre - offsets[k]), lowest = [...wanted];
    for (let k = lowest.length - 2; k >= 0; k--) lowest[k] = Math.min(lowest[k], lowest[k + 1]);
    let highest = -Infinity;
    return wanted.map((value, k) => {
      highest = Math.max(highest, value);
      return Math.max(left, Math.min(right - sum, (highest + lowest[k]) / 2)) + offsets[k];
    });
  }

  // marks: { text, x, colour } in order of x
  function labels(pen, marks, y, left, right) {
    pen.font = "600 " + font(14); pen.textAlign = "center"; pen.textBaseline = "middle";
    const widths = marks.map(mark => pen.measureText(mark.text).width + 7);
    placed(marks.map(mark => mark.x), widths, left, right).forEach((x, k) => {
      pen.fillStyle = marks[k].colour;
      pen.fillText(marks[k].text, x, y);
    });
  }

  function titles(pen, texts) { // [text, y] in order
    pen.font = font(12); pen.fillStyle = css("--grey"); pen.textBaseline = "alphabetic"; pen.textAlign = "left";
    for (const [text, y] of texts) pen.fillText(text, 6, y);
  }

  // Seconds below the picture; scale is pixels a second, and x = 0 is the time `from`.
  function axis(pen, from, to, scale, y, right) {
    pen.font = font(12); pen.fillStyle = css("--grey"); pen.textBaseline = "alphabetic"; pen.textAlign = "center";
    const step = [.1, .2, .5, 1, 2, 5, 10, 30].find(one => one * scale >= 60) || 60;
    for (let k = Math.ceil(from / step); k * step <= to; k++)
      pen.fillText(`${+(k * step).toFixed(1)} s`, Math.min(Math.max(14, (k * step - from) * scale), right - 14), y);
  }

  const rate = seconds => `${(1 / seconds).toFixed(1).replace(/\.0$/, "")} frames a second`;

  return { css, colour, penOf, spectrogram, keyframe, cell, labels, titles, axis, rate };
})();
