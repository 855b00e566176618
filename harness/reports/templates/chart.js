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
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      description: label,
      width: "container",
      height: 380,
      autosize: { type: "fit-x", contains: "padding" },
      layer: [
        {
          data: {
            values: held.filter(function (point) {
              return point.front.indexOf(axis.key) >= 0;
            }),
          },
          mark: {
            type: "line",
            interpolate: axis.rising ? "step-before" : "step-after",
            color: style("--accent"),
            strokeWidth: 1.5,
            strokeDash: [5, 4],
            aria: false,
          },
          encoding: { x: x, y: y, order: { field: axis.key } },
        },
        {
          data: {
            values: held.map(function (point) {
              return Object.assign({}, point, {
                href: "entries/" + point.page,
                label:
                  point.id + ", " + point.how + ", top-1 " + point.top1.toFixed(2) + " %" +
                  (point.front.indexOf(axis.key) >= 0 ? ", on the Pareto front" : ""),
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
              condition: { test: "datum.how === 'published' || datum.how === 'smoke'", value: 0.35 },
              value: 0.95,
            },
            href: { field: "href" },
            description: { field: "label" },
            tooltip: [
              { field: "id", title: "entry" },
              { field: "how", title: "number" },
              { field: "top1", title: "top-1 %", format: ".2f" },
              { field: "published", title: "published %" },
              { field: axis.key, title: axis.title, format: axis.key === "ms" || axis.key === "sparsity" ? ".2f" : ",.0f" },
              { field: "verdict", title: "verdict" },
              { field: "on the front", title: "on the front" },
            ],
          },
        },
      ],
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
      front.length + " on the Pareto front of all measured ones (dashed).";
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
        section.dataset.drawn = axis.key;
      });
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
  document.addEventListener("themechange", function () {
    document.querySelectorAll("section.board:not([hidden])").forEach(draw);
  });
})();
