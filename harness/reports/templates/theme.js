/* Theme: the system's until somebody chooses; the choice is remembered where storage exists. */
(function () {
  "use strict";
  var root = document.documentElement;
  var KEY = "bench-theme";

  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch (error) {
      return null; // storage is off; the choice lasts for this page
    }
  }

  function system() {
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }

  function current() {
    return root.dataset.theme || system();
  }

  function label(button) {
    var dark = current() === "dark";
    button.setAttribute("aria-pressed", String(dark));
    button.querySelector("span").textContent = dark ? "Light theme" : "Dark theme";
  }

  /* The address wins: a link shows what its sender saw. */
  function inAddress() {
    var found = /[#&]theme=(dark|light)/.exec(location.hash);
    return found ? found[1] : null;
  }

  function toAddress(theme) {
    var rest = location.hash.slice(1).split("&").filter(function (part) {
      return part && part.indexOf("theme=") !== 0;
    });
    history.replaceState(null, "", "#" + rest.concat("theme=" + theme).join("&"));
  }

  var chosen = inAddress() || stored();
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;

  document.addEventListener("DOMContentLoaded", function () {
    var button = document.getElementById("theme");
    label(button);
    button.hidden = false;
    button.addEventListener("click", function () {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch (error) {
        // storage is off; the choice lasts for this page
      }
      toAddress(root.dataset.theme);
      label(button);
      document.dispatchEvent(new Event("themechange"));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () {
      label(button);
      document.dispatchEvent(new Event("themechange"));
    });
  });
})();
