/* Accuracy against cost, drawn with Vega-Lite for the board that is shown. */
(function () {
  "use strict";

  var LEVELS = 3; // of one method and network; from so many on they are joined
  var NAMED = 3; // marks beyond the axis
  var MOST = 500; // marks; of more, those that lie on one another are drawn once
  var CELLS = [120, 60]; // the grid on which marks count as lying on one another

  function style(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function dark() {
    return getComputedStyle(document.documentElement).colorScheme === "dark";
  }

  function json(id) {
    return JSON.parse(document.getElementById(id).textContent);
  }

  function leads(point, axis) {
    return point.front.indexOf(axis.key) >= 0;
  }

  function kind(point) {
    return point.how === "published" ? "only published" : point.how + (point.partial ? ", short run or subset" : "");
  }

  function label(point, axis) {
    var on = leads(point, axis) ? ", on the Pareto front" : "";
    return point.id + ", " + kind(point) + ", top-1 " + point.top1.toFixed(2) + " %" + on;
  }

  function cost(point, axis) {
    var value = point[axis.key];
    if (axis.key === "latency" || axis.key === "sparsity") return value.toFixed(2);
    return value.toLocaleString("en");
  }

  /* Limits as the pictures of `bench plot` have them: Tukey's far fences, nothing impossible. */
  function quantile(ordered, share) {
    var place = share * (ordered.length - 1);
    var below = Math.floor(place);
    var above = Math.min(below + 1, ordered.length - 1);
    return ordered[below] + (place - below) * (ordered[above] - ordered[below]);
  }

  function limits(values, lowest, highest, log) {
    var ordered = values.map(function (v) { return log ? Math.log10(v) : v; }).sort(function (a, b) { return a - b; });
    var first = quantile(ordered, 0.25), third = quantile(ordered, 0.75), reach = 3 * (third - first);
    if (ordered.length >= 8 && reach > 0) {
      ordered = ordered.filter(function (v) { return v >= first - reach && v <= third + reach; });
    }
    var low = ordered[0], high = ordered[ordered.length - 1];
    var room = 0.06 * (high - low) || (log ? 0.1 : 0.5);
    low -= room; high += room;
    if (log) { low = Math.pow(10, low); high = Math.pow(10, high); }
    return [lowest === null ? low : Math.max(low, lowest), highest === null ? high : Math.min(high, highest)];
  }

  function heights(points) {
    return limits(points.map(function (point) { return point.top1; }), 0, 100, false);
  }

  /* Marks beyond the axis stand at its edge: the caption says where they belong. */
  function beyond(points) {
    var ends = heights(points);
    var out = points.filter(function (point) { return point.top1 < ends[0] || point.top1 > ends[1]; });
    if (!out.length) return "";
    var named = out.slice(0, NAMED).map(function (point) { return point.id + " (" + point.top1.toFixed(2) + " %)"; });
    return " Beyond the axis, drawn at its edge: " + named.join(", ") +
      (out.length > NAMED ? " and " + (out.length - NAMED) + " more" : "") + ".";
  }

  function curves(points, axis) {
    var groups = {};
    points.forEach(function (point) {
      if (point.how !== "published") (groups[point.curve] = groups[point.curve] || []).push(point);
    });
    return [].concat.apply([], Object.keys(groups).map(function (key) {
      var levels = {};
      groups[key].forEach(function (point) { levels[point[axis.key]] = true; });
      return Object.keys(levels).length >= LEVELS ? groups[key] : [];
    }));
  }

  /* What lies on one another to the eye is drawn once; the front always. */
  function thinned(points, axis, x, y, log) {
    if (points.length <= MOST) return points;
    var seen = {};
    function cell(value, ends, cells, log) {
      var f = log ? Math.log : Number;
      return Math.round((cells * (f(value) - f(ends[0]))) / (f(ends[1]) - f(ends[0])));
    }
    return points.filter(function (point) {
      var key = cell(point[axis.key], x, CELLS[0], log) + " " + cell(point.top1, y, CELLS[1]);
      var fresh = leads(point, axis) || !seen[key];
      seen[key] = true;
      return fresh;
    });
  }

  function spec(points, axis, looks, text, width) {
    var values = points.map(function (point) { return point[axis.key]; });
    var log = axis.at_most === null && Math.min.apply(null, values) > 0;
    var ends = [Math.min.apply(null, values), Math.max.apply(null, values)];
    var across = limits(ends, log ? null : 0, axis.at_most, log);
    var up = heights(points);
    var shown = thinned(points, axis, across, up, log).map(function (point) {
      return Object.assign({}, point, {
        label: label(point, axis),
        look: point.how === "published" || point.partial ? "hollow" : point.how,
        dash: !!point.partial,
        low: point.top1 - (point.std || 0),
        high: point.top1 + (point.std || 0),
        leads: leads(point, axis),
      });
    });
    var used = Object.keys(looks).filter(function (method) {
      return shown.some(function (point) { return point.method === method; });
    });
    var colours = used.map(function (method) { return looks[method][dark() ? 1 : 0]; });
    var key = { title: null, orient: "bottom", columns: Math.max(2, Math.floor(width / 150)) };
    var colour = { field: "method", type: "nominal", scale: { domain: used, range: colours }, legend: key };
    var x = {
      field: axis.key, type: "quantitative", title: axis.title,
      scale: { type: log ? "log" : "linear", domain: across, nice: false, clamp: true },
      axis: { grid: false, format: axis.key === "latency" || axis.key === "sparsity" ? "~r" : "~s", tickCount: 6 },
    };
    var y = { field: "top1", type: "quantitative", title: "top-1, %", scale: { domain: up, clamp: true, nice: false } };
    var quiet = function (encoding) { return Object.assign({ x: x, y: y }, encoding); };
    var layers = [
      { data: { values: shown.filter(function (p) { return p.leads; }) },
        mark: { type: "line", interpolate: axis.rising ? "step-before" : "step-after", color: style("--accent"), strokeWidth: 1.5, strokeDash: [5, 4], aria: false },
        encoding: quiet({ order: { field: axis.key } }) },
      { data: { values: curves(shown, axis) },
        mark: { type: "line", strokeWidth: 1.6, aria: false },
        encoding: quiet({ stroke: colour, detail: { field: "curve" }, order: { field: axis.key } }) },
      { data: { values: shown.filter(function (p) { return p.std; }) },
        mark: { type: "rule", strokeWidth: 1.4, aria: false },
        encoding: { x: x, y: Object.assign({}, y, { field: "low" }), y2: { field: "high" }, stroke: colour } },
    ].filter(function (layer) { return layer.data.values.length; });
    layers.push({
      data: { values: shown },
      mark: { type: "point", size: 85, cursor: "pointer", strokeWidth: 1.6, opacity: 1 },
      encoding: {
        x: x, y: y,
        fill: Object.assign({ condition: { test: "datum.look === 'hollow'", value: style("--background") } }, colour),
        shape: { field: "method", type: "nominal", scale: { domain: used, range: used.map(function (method) { return looks[method][2]; }) }, legend: key },
        stroke: Object.assign({ condition: { test: "datum.look === 'retrained'", value: style("--text") } }, colour),
        strokeDash: { condition: { test: "datum.dash", value: [2, 2] }, value: [1, 0] },
        description: { field: "label" },
        tooltip: { field: "label" },
      },
    });
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      description: text, width: "container", height: 380,
      autosize: { type: "fit-x", contains: "padding" },
      layer: layers,
      config: {
        background: null, font: style("--sans"), view: { stroke: null },
        axis: { labelColor: style("--muted"), titleColor: style("--text"), gridColor: style("--line"), domainColor: style("--line"), tickColor: style("--line"), labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, titlePadding: 10 },
        legend: { labelColor: style("--text"), labelFontSize: 12, columnPadding: 18, labelLimit: 220, offset: 14, symbolOpacity: 1 },
      },
    };
  }

  /* The words about one point stand inside the figure, never over what is below it. */
  function tip(section) {
    return section.querySelector(".tip");
  }

  function hide(section) {
    tip(section).hidden = true;
  }

  function show(section, point, axis, mark) {
    var box = tip(section);
    box.textContent = "";
    [
      ["", point.id],
      ["number", kind(point)],
      ["top-1", point.top1.toFixed(2) + (point.std ? " ± " + point.std.toFixed(2) : "") + " %" + (point.published && point.how !== "published" ? ", published " + point.published : "")],
      [axis.title, cost(point, axis)],
      ["verdict", point.verdict],
      ["short because", point.partial],
      ["note", point.note >= 0 ? section.notes[point.note] : ""],
      ["Pareto front", leads(point, axis) ? "on it" : ""],
    ].forEach(function (fact) {
      if (!fact[1]) return;
      var line = document.createElement(fact[0] ? "p" : "b");
      line.textContent = (fact[0] ? fact[0] + ": " : "") + fact[1];
      box.appendChild(line);
    });
    box.hidden = false;
    var frame = section.querySelector("figure.plot").getBoundingClientRect();
    var at = mark.getBoundingClientRect();
    var left = at.right - frame.left + 12;
    if (left + box.offsetWidth > frame.width - 8) left = at.left - frame.left - 12 - box.offsetWidth;
    var top = at.top - frame.top - box.offsetHeight / 2;
    box.style.left = Math.max(8, left) + "px";
    box.style.top = Math.max(8, Math.min(top, frame.height - box.offsetHeight - 8)) + "px";
  }

  function draw(section) {
    var place = section.querySelector(".chart");
    if (!place || section.hidden || !section.points || !window.vegaEmbed) return;
    hide(section);
    var select = section.querySelector("select.axis");
    var axis = json("axes").find(function (one) { return one.key === select.value; });
    var points = section.points.filter(function (point) {
      return !section.shows || section.shows(point);
    });
    var there = points.filter(function (point) { return point[axis.key] !== null; });
    var front = there.filter(function (point) { return leads(point, axis); });
    var note = section.querySelector(".chart-note");
    place.hidden = there.length === 0;
    if (there.length === 0) {
      note.textContent = points.length
        ? "None of these networks has this figure. Choose another cost" + (axis.key === "latency" ? ", or time them: bench latency ID." : ".")
        : "No network passes these filters. Clear them, or show short runs as well.";
      delete section.dataset.drawn;
      return;
    }
    note.textContent =
      there.length + " of " + points.length + " shown networks have this figure; " +
      (front.length
        ? front.length + " on the Pareto front of all full numbers measured here (dashed)."
        : "no full measurement among them, so no Pareto front.") +
      beyond(there);
    var text = "Top-1 accuracy against " + axis.title + ": " + there.length + " networks. " +
      "Best on the front: " + (front.length ? best(front) : "none measured") + ".";
    place.setAttribute("aria-label", text);
    window
      .vegaEmbed(place, spec(there, axis, json("looks"), text, place.clientWidth), { actions: false, renderer: "svg", tooltip: function () {} })
      .then(function () {
        reachable(section, place, there, axis);
        section.dataset.drawn = axis.key;
      });
  }

  /* Points are links: one stop for Tab, arrow keys from point to point, Enter opens the entry. */
  function reachable(section, place, points, axis) {
    var known = {};
    points.forEach(function (point) { known[label(point, axis)] = point; });
    var marks = Array.prototype.filter.call(
      place.querySelectorAll('path[aria-roledescription="point"]'),
      function (mark) { return known[mark.getAttribute("aria-label")]; }
    );
    marks.sort(function (a, b) { return a.getBoundingClientRect().left - b.getBoundingClientRect().left; });
    marks.forEach(function (mark, i) {
      var point = known[mark.getAttribute("aria-label")];
      mark.setAttribute("role", "link");
      mark.removeAttribute("aria-roledescription");
      mark.setAttribute("tabindex", i ? "-1" : "0");
      mark.addEventListener("click", function () { location.href = point.page; });
      ["focus", "pointerenter"].forEach(function (event) {
        mark.addEventListener(event, function () { show(section, point, axis, mark); });
      });
      ["blur", "pointerleave"].forEach(function (event) {
        mark.addEventListener(event, function () { hide(section); });
      });
      mark.addEventListener("keydown", function (event) {
        if (event.key === "Enter") mark.dispatchEvent(new MouseEvent("click"));
        if (event.key === "Escape") hide(section);
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

  function best(points) {
    var top = points.reduce(function (a, b) { return b.top1 > a.top1 ? b : a; });
    return top.id + " with " + top.top1.toFixed(2) + " %";
  }

  var waiting = new WeakMap();

  function later(section) {
    clearTimeout(waiting.get(section));
    waiting.set(section, setTimeout(function () { draw(section); }, 120));
  }

  function all() {
    document.querySelectorAll("section.board:not([hidden])").forEach(later);
  }

  ["shown", "filtered"].forEach(function (name) {
    document.addEventListener(name, function (event) { later(event.target); });
  });
  document.addEventListener("change", function (event) {
    if (event.target.matches("select.axis")) draw(event.target.closest("section"));
  });
  document.addEventListener("themechange", all);
  all();
})();
