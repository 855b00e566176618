/* Accuracy against cost, drawn with Vega-Lite for the board that is shown. */
(function () {
  "use strict";

  var SHAPES = { evaluated: "circle", retrained: "square", published: "diamond", smoke: "cross" };
  var HOW = ["evaluated", "retrained", "published", "smoke"];

  function style(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function palette() {
    return style("--series").split(/\s+/);
  }

  function told(point, axis) {
    var on = point.front.indexOf(axis.key) >= 0 ? ", on the Pareto front" : "";
    return point.id + ", " + point.how + ", top-1 " + point.top1.toFixed(2) + " %" + on;
  }

  function spec(points, axis, methods, label, width) {
    var columns = Math.max(2, Math.floor(width / 130));
    var colours = palette();
    var held = points.filter(function (point) {
      return point[axis.key] !== null;
    });
    var used = methods.filter(function (method) {
      return held.some(function (point) {
        return point.method === method;
      });
    });
    var ways = HOW.filter(function (how) {
      return held.some(function (point) {
        return point.how === how;
      });
    });
    var x = {
      field: axis.key,
      type: "quantitative",
      title: axis.title,
      scale:
        axis.scale === "log"
          ? { type: "log", nice: false, padding: 24 }
          : { type: "linear", zero: false, nice: true, padding: 24 },
      axis: { grid: false, format: axis.key === "ms" || axis.key === "sparsity" ? "~r" : "~s", tickCount: 6 },
    };
    var y = {
      field: "top1",
      type: "quantitative",
      title: "top-1, %",
      scale: { zero: false, nice: true },
    };
    var front = held.filter(function (point) {
      return point.front.indexOf(axis.key) >= 0;
    });
    var line = {
      data: { values: front },
      mark: {
        type: "line",
        interpolate: axis.rising ? "step-before" : "step-after",
        color: style("--accent"),
        strokeWidth: 1.5,
        strokeDash: [5, 4],
        aria: false,
      },
      encoding: { x: x, y: y, order: { field: axis.key } },
    };
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      description: label,
      width: "container",
      height: 380,
      autosize: { type: "fit-x", contains: "padding" },
      layer: (front.length ? [line] : []).concat([
        {
          data: {
            values: held.map(function (point) {
              return Object.assign({}, point, {
                label: told(point, axis),
                onFront: point.front.indexOf(axis.key) >= 0,
                "on the front": point.front.indexOf(axis.key) >= 0 ? "yes" : "no",
              });
            }),
          },
          mark: { type: "point", size: 90, filled: true, cursor: "pointer" },
          encoding: {
            x: x,
            y: y,
            color: {
              field: "method",
              type: "nominal",
              scale: {
                domain: used,
                range: used.map(function (method) {
                  return colours[methods.indexOf(method) % colours.length];
                }),
              },
              legend: { title: "method", orient: "bottom", columns: columns },
            },
            shape: {
              field: "how",
              type: "nominal",
              scale: {
                domain: ways,
                range: ways.map(function (how) {
                  return SHAPES[how];
                }),
              },
              legend: {
                title: "number",
                orient: "bottom",
                columns: columns,
                symbolFillColor: style("--muted"),
              },
            },
            stroke: {
              condition: { test: "datum.onFront", value: style("--text") },
              value: style("--background"),
            },
            strokeWidth: { condition: { test: "datum.onFront", value: 2 }, value: 0.75 },
            fillOpacity: {
              condition: { test: "datum.how === 'published' || datum.how === 'smoke'", value: 0.6 },
              value: 0.95,
            },
            description: { field: "label" },
            tooltip: [
              { field: "id", title: "entry" },
              { field: "how", title: "number" },
              { field: "top1", title: "top-1 %", format: ".2f" },
              { field: "published", title: "published %" },
              { field: axis.key, title: axis.title, format: axis.key === "ms" || axis.key === "sparsity" ? ".2f" : ",.0f" },
              { field: "verdict", title: "verdict" },
              { field: "on the front", title: "on the front" },
              { field: "note", title: "note" },
            ],
          },
        },
      ]),
      config: {
        background: null,
        font: style("--sans"),
        view: { stroke: null },
        axis: {
          labelColor: style("--muted"),
          titleColor: style("--text"),
          gridColor: style("--line"),
          domainColor: style("--line"),
          tickColor: style("--line"),
          labelFontSize: 12,
          titleFontSize: 12,
          titleFontWeight: 500,
          titlePadding: 10,
        },
        legend: {
          labelColor: style("--text"),
          titleColor: style("--muted"),
          labelFontSize: 12,
          titleFontSize: 12,
          titleFontWeight: 500,
          symbolStrokeWidth: 0,
          columnPadding: 18,
          layout: { bottom: { anchor: "start", direction: "vertical", margin: 14 } },
          labelLimit: 220,
        },
      },
    };
  }

  function draw(section) {
    var place = section.querySelector(".chart");
    if (!place || section.hidden) return;
    var source = JSON.parse(document.getElementById("points-" + section.id).textContent);
    var axes = JSON.parse(document.getElementById("axes").textContent);
    var methods = JSON.parse(document.getElementById("methods").textContent);
    var select = section.querySelector("select.axis");
    var axis = axes.find(function (one) {
      return one.key === select.value;
    });
    var points = source.filter(function (point) {
      return !section.shownEntries || section.shownEntries[point.id];
    });
    var there = points.filter(function (point) {
      return point[axis.key] !== null;
    });
    var front = there.filter(function (point) {
      return point.front.indexOf(axis.key) >= 0;
    });
    section.querySelector(".chart-note").textContent =
      there.length + " of " + points.length + " shown networks have this figure; " +
      (front.length
        ? front.length + " on the Pareto front of all measured ones (dashed)."
        : "no full measurement among them, so no Pareto front.");
    place.hidden = there.length === 0;
    if (there.length === 0) return;
    var label = "Top-1 accuracy against " + axis.title + ": " + there.length + " networks. " +
      "Best on the front: " + (front.length ? best(front) : "none measured") + ".";
    place.setAttribute("aria-label", label);
    window
      .vegaEmbed(place, spec(points, axis, methods, label, place.clientWidth), {
        actions: false,
        renderer: "svg",
        tooltip: { theme: "custom" },
      })
      .then(function () {
        reachable(place, there, axis);
        section.dataset.drawn = axis.key;
      });
  }

  /* Points are links: one stop for Tab, arrow keys from point to point, Enter opens the entry. */
  function reachable(place, points, axis) {
    var pages = {};
    points.forEach(function (point) {
      pages[told(point, axis)] = "entries/" + point.page;
    });
    var marks = Array.prototype.filter.call(
      place.querySelectorAll('path[aria-roledescription="point"]'),
      function (mark) {
        return pages[mark.getAttribute("aria-label")];
      }
    );
    marks.sort(function (a, b) {
      return a.getBoundingClientRect().left - b.getBoundingClientRect().left;
    });
    marks.forEach(function (mark, i) {
      mark.setAttribute("role", "link");
      mark.removeAttribute("aria-roledescription");
      mark.setAttribute("tabindex", i ? "-1" : "0");
      mark.addEventListener("click", function () {
        location.href = pages[mark.getAttribute("aria-label")];
      });
      mark.addEventListener("focus", function () {
        point(mark, "pointermove");
      });
      mark.addEventListener("blur", function () {
        point(mark, "pointerout");
      });
      mark.addEventListener("keydown", function (event) {
        if (event.key === "Enter") mark.dispatchEvent(new MouseEvent("click"));
        var step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        var next = marks[(i + step + marks.length) % marks.length];
        mark.setAttribute("tabindex", "-1");
        next.setAttribute("tabindex", "0");
        next.focus();
      });
    });
  }

  /* The chart's own tooltip follows the focus as it follows the pointer. */
  function point(mark, kind) {
    var box = mark.getBoundingClientRect();
    mark.dispatchEvent(
      new PointerEvent(kind, {
        bubbles: true,
        clientX: box.left + box.width / 2,
        clientY: box.top + box.height / 2,
      })
    );
  }

  function best(points) {
    var top = points.reduce(function (a, b) {
      return b.top1 > a.top1 ? b : a;
    });
    return top.id + " with " + top.top1.toFixed(2) + " %";
  }

  var waiting = new WeakMap();

  function later(section) {
    clearTimeout(waiting.get(section));
    waiting.set(
      section,
      setTimeout(function () {
        draw(section);
      }, 120)
    );
  }

  document.addEventListener("shown", function (event) {
    later(event.target);
  });
  document.addEventListener("filtered", function (event) {
    later(event.target);
  });
  document.addEventListener("change", function (event) {
    if (event.target.matches("select.axis")) draw(event.target.closest("section"));
  });
  function all() {
    document.querySelectorAll("section.board:not([hidden])").forEach(draw);
  }

  document.addEventListener("themechange", all);
  all();
})();
