/* Leaderboards: one data set at a time, filtered, sorted and paged from its data file; what is
   shown stands in the address. Without scripts the pages show their first rows and a CSV file. */
(function () {
  "use strict";

  var PAGE = 100; // rows at once
  var FIELDS = ["method", "model", "paper", "verdict"];
  var order = new Intl.Collator("en", { numeric: false });
  var waiting = {}; // board -> what to do with its data

  /* The address: #board&name=value&... */
  function address() {
    var parts = location.hash.slice(1).split("&");
    var found = { "": parts[0].indexOf("=") < 0 ? decodeURIComponent(parts[0]) : "" };
    parts.forEach(function (part) {
      var at = part.indexOf("=");
      if (at > 0) found[part.slice(0, at)] = decodeURIComponent(part.slice(at + 1));
    });
    return found;
  }

  function remember(section) {
    var state = section.state;
    var parts = [section.id];
    Object.keys(state).forEach(function (name) {
      if (state[name]) parts.push(name + "=" + encodeURIComponent(state[name]));
    });
    var theme = address().theme;
    if (theme) parts.push("theme=" + theme);
    history.replaceState(null, "", "#" + parts.join("&"));
  }

  /* Data. A file calls board(id, data) when its script arrives, also from a disk. */
  window.board = function (id, data) {
    waiting[id](data);
  };

  function load(section, then) {
    if (section.loading) return;
    section.loading = true;
    waiting[section.id] = then;
    var script = document.createElement("script");
    script.src = section.dataset.source;
    document.head.appendChild(script);
  }

  function number(text) {
    var value = parseFloat(text.replace(/[(,]/g, ""));
    return Number.isNaN(value) ? null : value;
  }

  function unpacked(data) {
    return data.rows.map(function (raw, place) {
      var row = {
        place: place, id: raw[0], texts: raw[6], partial: data.words[raw[5]], front: [],
        method: data.words[raw[1]], model: data.words[raw[2]], paper: data.words[raw[3]], verdict: data.words[raw[4]],
        about: data.words[raw[9]], tone: data.words[raw[10]], note: raw[11], flags: raw[7], page: raw[12],
      };
      data.axes.forEach(function (axis, i) {
        row[axis] = raw[8][i];
        if (raw[13].indexOf(String(i)) >= 0) row.front.push(axis);
      });
      var evaluated = number(row.texts[1]), retrained = number(row.texts[2]);
      row.how = evaluated !== null ? "evaluated" : retrained !== null ? "retrained" : "published";
      row.published = row.texts[0] === "–" ? "" : row.texts[0];
      row.top1 = evaluated !== null ? evaluated : retrained !== null ? retrained : number(row.texts[0]);
      var spread = row.texts[2].split(" ± ")[1];
      row.std = row.how === "retrained" && spread ? Number(spread) : null;
      row.search = [row.id, row.method, row.model, row.paper].join(" ").toLowerCase();
      row.curve = [row.method, row.model, row.id.replace(/\d+(\.\d+)?/g, ""), row.how, row.partial ? 1 : 0].join("|");
      return row;
    });
  }

  /* Filters. */
  function passes(row, state) {
    return (
      (!state.q || row.search.indexOf(state.q.toLowerCase()) >= 0) &&
      FIELDS.every(function (name) { return !state[name] || row[name] === state[name]; }) &&
      (!row.partial || state.short)
    );
  }

  function value(row, key, columns) {
    if (key === "entry") return row.id;
    if (key === "verdict") return row.verdict;
    var text = row.texts[columns.indexOf(key)];
    if (key === "date") return text === "–" ? null : text;
    return number(text);
  }

  function sorted(rows, sort, columns) {
    if (!sort) return rows;
    var down = sort[0] === "-", key = down ? sort.slice(1) : sort;
    var keyed = rows.map(function (row) { return [value(row, key, columns), row]; });
    keyed.sort(function (a, b) {
      if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null) || a[1].place - b[1].place;
      var by = typeof a[0] === "number" ? a[0] - b[0] : order.compare(a[0], b[0]);
      return (down ? -by : by) || a[1].place - b[1].place;
    });
    return keyed.map(function (pair) { return pair[1]; });
  }

  /* Rows. */
  function element(name, text, kind) {
    var made = document.createElement(name);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function link(text, href) {
    var made = element("a", text);
    made.href = href;
    return made;
  }

  function line(section, row) {
    var columns = section.columns, made = element("tr");
    made.dataset.entry = row.id;
    made.className = [row.flags & 1 ? "baseline" : "", row.flags & 2 ? "outdated" : "", row.partial ? "partial" : ""].join(" ").trim();
    var head = element("th");
    head.scope = "row";
    head.dataset.value = row.id;
    head.appendChild(link(row.id, row.page));
    if (row.note >= 0) {
      var mark = link(String(row.note + 1), "#note");
      mark.setAttribute("aria-label", "note " + (row.note + 1));
      mark.title = section.notes[row.note];
      mark.addEventListener("click", function (event) {
        event.preventDefault();
        var note = section.querySelector('.notes li[value="' + (row.note + 1) + '"]');
        if (note) { note.tabIndex = -1; note.focus(); }
      });
      head.appendChild(element("sup")).appendChild(mark);
    }
    head.appendChild(element("br"));
    head.appendChild(element("small", [row.method, row.model].concat(row.flags & 1 ? "baseline" : [], row.flags & 2 ? "old protocol" : [], row.partial ? "short run" : []).join(" · ")));
    made.appendChild(head);
    row.texts.forEach(function (text, i) {
      var cell = element("td", text, "number" + (text === "–" ? " missing" : ""));
      cell.dataset.head = section.heads[i];
      var sortable = value(row, columns[i], columns);
      cell.dataset.value = sortable === null ? "" : sortable;
      made.appendChild(cell);
      if (columns[i] !== "delta") return;
      var verdict = element("td", "", "verdict-cell");
      verdict.dataset.value = row.verdict;
      verdict.dataset.head = "verdict";
      verdict.appendChild(element("span", row.verdict, "badge " + row.tone));
      if (row.about) {
        verdict.appendChild(element("br"));
        verdict.appendChild(element("small", row.about));
      }
      made.appendChild(verdict);
    });
    return made;
  }

  function say(section, text) {
    var place = section.querySelector(".said");
    if (place) place.textContent = text;
  }

  function apply(section) {
    var state = section.state;
    var measured = section.rows.filter(function (row) { return row.flags & 4; });
    var shown = sorted(measured.filter(function (row) { return passes(row, state); }), state.sort, section.columns);
    var last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
    var page = Math.min(Number(state.page || 0), last);
    var body = section.querySelector("table.sortable tbody");
    var seen = shown.slice(page * PAGE, (page + 1) * PAGE);
    body.replaceChildren.apply(body, seen.map(function (row) { return line(section, row); }));
    notes(section, seen);
    section.querySelector(".pages").hidden = last === 0;
    section.querySelector(".pages output").textContent = shown.length ? page * PAGE + 1 + " to " + Math.min((page + 1) * PAGE, shown.length) + " of " + shown.length.toLocaleString("en") : "";
    section.querySelector(".pages [name=back]").disabled = page === 0;
    section.querySelector(".pages [name=on]").disabled = page === last;
    section.querySelectorAll("thead th").forEach(function (head) {
      var key = head.dataset.key;
      var at = state.sort === key ? "ascending" : state.sort === "-" + key ? "descending" : "none";
      head.setAttribute("aria-sort", at);
    });
    section.querySelector("table.sortable").classList.toggle("sorted", !!state.sort);
    var folded = waitingRows(section, state);
    section.querySelector(".nothing").hidden = shown.length + folded > 0;
    section.querySelector(".scroll").hidden = shown.length === 0;
    var hidden = state.short ? 0 : measured.filter(function (row) { return row.partial; }).length;
    section.querySelector(".count").textContent =
      shown.length.toLocaleString("en") + " of " + measured.length.toLocaleString("en") + " rows" + (hidden ? ", " + hidden + " short runs hidden" : "");
    section.shows = function (row) {
      return row.top1 !== null && passes(row, state) && (row.flags & 4 || !state.measured);
    };
    section.dispatchEvent(new CustomEvent("filtered", { bubbles: true }));
  }

  function notes(section, seen) {
    var list = section.querySelector(".notes");
    var used = {};
    seen.forEach(function (row) { if (row.note >= 0) used[row.note] = true; });
    list.replaceChildren.apply(list, Object.keys(used).map(Number).sort(function (a, b) { return a - b; }).map(function (place) {
      var item = element("li", section.notes[place]);
      item.value = place + 1;
      return item;
    }));
    list.hidden = !list.children.length;
  }

  /* What nobody measured is folded, a line per paper; a filter narrows it, too. */
  function waitingRows(section, state) {
    var total = 0;
    section.querySelectorAll("details.unmeasured").forEach(function (paper) {
      var count = 0;
      paper.querySelectorAll("tr[data-entry]").forEach(function (row) {
        var on = !state.measured && (!state.verdict || state.verdict === "not measured") &&
          (!state.q || row.dataset.search.indexOf(state.q.toLowerCase()) >= 0) &&
          ["method", "model", "paper"].every(function (name) { return !state[name] || row.dataset[name] === state[name]; });
        row.hidden = !on;
        count += on;
      });
      paper.hidden = count === 0;
      total += count;
    });
    section.querySelector(".waiting").hidden = total === 0;
    return total;
  }

  /* Controls. */
  function fill(section) {
    var form = section.querySelector("form.filters"), state = section.state;
    form.elements.text.value = state.q || "";
    FIELDS.forEach(function (name) { form.elements[name].value = state[name] || ""; });
    form.elements.measured.checked = !!state.measured;
    form.elements.short.checked = !!state.short;
    form.elements.sort.value = state.sort || "";
    if (state.cost) section.querySelector("select.axis").value = state.cost;
  }

  function changed(section, page) {
    section.state.page = page || "";
    if (section.rows) apply(section);
    remember(section);
  }

  function control(section) {
    var form = section.querySelector("form.filters");
    function read() {
      var state = section.state;
      state.q = form.elements.text.value.trim();
      FIELDS.concat("sort").forEach(function (name) { state[name] = form.elements[name].value; });
      state.measured = form.elements.measured.checked ? "1" : "";
      state.short = form.elements.short.checked ? "1" : "";
      changed(section);
    }
    form.addEventListener("input", read);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    form.addEventListener("reset", function () { setTimeout(read); });
    section.querySelector(".nothing button").addEventListener("click", function () {
      form.reset();
      form.elements.short.checked = true;
      setTimeout(read);
    });
    section.querySelector("select.axis").addEventListener("change", function (event) {
      section.state.cost = event.target.value;
      remember(section);
    });
    section.querySelectorAll("thead button").forEach(function (button) {
      button.addEventListener("click", function () {
        var head = button.parentNode, key = head.dataset.key, now = section.state.sort;
        var down = now === key || (now !== "-" + key && head.dataset.first === "descending");
        section.state.sort = (down ? "-" : "") + key;
        changed(section);
        fill(section);
        say(section, "Sorted by " + button.textContent.trim() + ", " + head.getAttribute("aria-sort") + ".");
      });
    });
    [["back", -1], ["on", 1]].forEach(function (way) {
      section.querySelector(".pages [name=" + way[0] + "]").addEventListener("click", function () {
        changed(section, String(Number(section.state.page || 0) + way[1]));
        section.querySelector("table.sortable").scrollIntoView();
      });
    });
    form.hidden = false;
  }

  function open(section) {
    section.state = section.state || {};
    load(section, function (data) {
      section.columns = data.columns;
      section.heads = data.heads;
      section.notes = data.notes;
      section.rows = unpacked(data);
      section.points = section.rows;
      var full = section.rows.some(function (row) { return row.flags & 4 && !row.partial; });
      if (!full) section.state.short = "1";
      fill(section);
      apply(section);
      section.dataset.ready = "yes";
    });
  }

  /* Tabs: arrow keys move between data sets. */
  function tabbed(list) {
    var tabs = Array.prototype.slice.call(list.querySelectorAll("a"));
    var panels = tabs.map(function (tab) { return document.getElementById(tab.hash.slice(1)); });
    list.setAttribute("role", "tablist");
    tabs.forEach(function (tab, place) {
      tab.setAttribute("role", "tab");
      tab.id = "tab-" + panels[place].id;
      tab.setAttribute("aria-controls", panels[place].id);
      panels[place].setAttribute("role", "tabpanel");
      panels[place].setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", function (event) {
        event.preventDefault();
        show(place, true);
      });
      tab.addEventListener("keydown", function (event) {
        var step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        var to = step ? (place + step + tabs.length) % tabs.length : null;
        if (event.key === "Home") to = 0;
        if (event.key === "End") to = tabs.length - 1;
        if (event.key === " ") to = place;
        if (to === null) return;
        event.preventDefault();
        show(to, true);
        tabs[to].focus();
      });
    });

    function show(place, write) {
      tabs.forEach(function (tab, i) {
        tab.setAttribute("aria-selected", String(i === place));
        tab.tabIndex = i === place ? 0 : -1;
        panels[i].hidden = i !== place;
      });
      list.scrollLeft = tabs[place].offsetLeft - list.offsetLeft - 40;
      open(panels[place]);
      if (write) remember(panels[place]);
      panels[place].dispatchEvent(new CustomEvent("shown", { bubbles: true }));
    }

    /* A data set, or something on its board, and how it is shown. */
    function fromAddress() {
      var state = address();
      var named = document.getElementById(state[""]);
      var wanted = Math.max(0, panels.findIndex(function (panel) { return panel.contains(named); }));
      delete state[""];
      delete state.theme;
      panels[wanted].state = state;
      if (panels[wanted].rows) {
        fill(panels[wanted]);
        apply(panels[wanted]);
      }
      show(wanted, false);
    }

    window.addEventListener("hashchange", fromAddress);
    fromAddress();
  }

  document.querySelectorAll("section.board").forEach(control);
  document.querySelectorAll("nav.tabs").forEach(tabbed);
})();
