// Colours: sequential and diverging scales whose lightness alone orders the values, for light and dark pages.

/**
 * The colours of a colouring `{low, high, diverging}`: `fill(value)`, `ink(value)` for text on it, `css()` for a legend.
 * Lightness rises or falls throughout, so that no kind of colour vision is needed to read them.
 */
export function colourScale({ low, high, diverging = false }, dark = false) {
  const stops = scaleStops(diverging, dark).map(scaleParsed);
  const shades = Array.from({ length: 256 }, (_, i) => scaleBetween(stops, i / 255));
  const fills = shades.map((shade) => `rgb(${shade.join(",")})`);
  const inks = shades.map((shade) => (scaleLuminance(shade) > 0.179 ? "#000000" : "#ffffff"));
  const index = (value) => Math.max(0, Math.min(255, Math.round((255 * (value - low)) / (high - low))));
  return {
    low,
    high,
    fill: (value) => fills[index(value)],
    ink: (value) => inks[index(value)],
    css: () => `linear-gradient(to right, ${[0, 51, 102, 153, 204, 255].map((i) => fills[i]).join(", ")})`,
  };
}

/** WCAG contrast of two `[r, g, b]`, 1 to 21. */
export function scaleContrast(first, second) {
  const [less, more] = [scaleLuminance(first), scaleLuminance(second)].sort((a, b) => a - b);
  return (more + 0.05) / (less + 0.05);
}

function scaleStops(diverging, dark) {
  if (diverging && dark) return ["#f0a35c", "#a55a1e", "#23272e", "#2f6c9e", "#8cc6ee"];
  if (diverging) return ["#a3480b", "#eda66c", "#f7f6f3", "#7fb3d8", "#11528a"];
  if (dark) return ["#1a1e25", "#1c3a55", "#23607f", "#3d8ea3", "#86c2b8", "#f2f0c4"];
  return ["#fbfaf4", "#dcebe3", "#a5cfd6", "#5fa4c6", "#2f6da8", "#173a74"];
}

function scaleParsed(hex) {
  return [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
}

function scaleBetween(stops, at) {
  const place = at * (stops.length - 1);
  const index = Math.min(stops.length - 2, Math.floor(place));
  const part = place - index;
  return stops[index].map((channel, i) => Math.round(channel + part * (stops[index + 1][i] - channel)));
}

function scaleLuminance(rgb) {
  const [r, g, b] = rgb.map((channel) => {
    const part = channel / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
