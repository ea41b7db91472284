// Columns of numbers as packing.py wrote them: base64 of zlib of byte planes.
"use strict";

report.unpack = async (text) => {
  const [kind, width] = [text[0], Number(text[1])];
  const packed = Uint8Array.from(atob(text.slice(3)), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = planes.length / width;
  const bytes = new Uint8Array(planes.length);
  for (let byte = 0; byte < width; byte++) {
    for (let i = 0; i < count; i++) bytes[i * width + byte] = planes[byte * count + i];
  }
  if (kind === "f") return new Float32Array(bytes.buffer);
  return width === 2 ? new Uint16Array(bytes.buffer) : bytes;
};
