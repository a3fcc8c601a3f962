// Before the first paint, so that no other theme flashes up.
try {
  const theme = localStorage.getItem('microtome.theme');
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Storage is off: the system's theme it is.
}
