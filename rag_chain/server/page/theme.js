// A classic script: it runs before the first paint, a module would not.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // Storage may be forbidden; the system's theme is right then.
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const show = () => document.getElementById("theme")?.setAttribute("aria-pressed", String(isDark()));

  const stored = chosen();
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;
  dark.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch {
        // It holds until the page is left.
      }
      show();
    });
  });
})();
