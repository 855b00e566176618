/* Leaderboards: one data set at a time, filters, and sorting by any column. */
(function () {
  "use strict";

  /* Sorting. Every tbody is sorted by itself; what has no value stays last in both directions. */
  function value(row, place) {
    var cell = row.cells[place];
    var text = cell.dataset.value;
    if (text === undefined || text === "") return null;
    var number = Number(text);
    return Number.isNaN(number) ? text : number;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en");
  }

  function sort(table, head, descending) {
    var place = head.cellIndex;
    Array.prototype.forEach.call(table.tBodies, function (body) {
      var rows = Array.prototype.filter.call(body.rows, function (row) {
        return row.dataset.entry;
      });
      rows
        .map(function (row) {
          return { row: row, value: value(row, place) };
        })
        .sort(function (a, b) {
          if (a.value === null || b.value === null) {
            return (a.value === null) - (b.value === null);
          }
          return descending ? compare(b.value, a.value) : compare(a.value, b.value);
        })
        .forEach(function (item) {
          body.appendChild(item.row);
        });
    });
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (cell) {
      cell.setAttribute("aria-sort", "none");
    });
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    table.classList.add("sorted");
  }

  function sortable(table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head) {
      var button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", function () {
        var now = head.getAttribute("aria-sort");
        var first = head.dataset.first === "descending";
        sort(table, head, now === "none" ? first : now === "ascending");
        say(table.dataset.status, "Sorted by " + button.textContent.trim() + ", " +
          head.getAttribute("aria-sort") + ".");
      });
    });
  }

  function say(id, text) {
    var place = id && document.getElementById(id);
    if (place) place.textContent = text;
  }

  /* Filters. One set of controls for the board that is shown. */
  function matches(row, wanted) {
    return (
      (!wanted.text || row.dataset.search.indexOf(wanted.text) >= 0) &&
      ["method", "model", "paper", "verdict"].every(function (name) {
        return !wanted[name] || row.dataset[name] === wanted[name];
      }) &&
      (!wanted.measured || row.dataset.measured === "yes")
    );
  }

  function filterable(section) {
    var form = section.querySelector("form.filters");
    if (!form) return;
    var rows = Array.prototype.slice.call(section.querySelectorAll("tr[data-entry]"));
    var count = section.querySelector(".count");

    function apply() {
      var wanted = {
        text: form.elements.text.value.trim().toLowerCase(),
        method: form.elements.method.value,
        model: form.elements.model.value,
        paper: form.elements.paper.value,
        verdict: form.elements.verdict.value,
        measured: form.elements.measured.checked,
      };
      var shown = {};
      var total = 0;
      rows.forEach(function (row) {
        var on = matches(row, wanted);
        row.hidden = !on;
        if (on) {
          total += 1;
          shown[row.dataset.entry] = true;
        }
      });
      section.querySelectorAll("tbody").forEach(function (body) {
        body.hidden = !body.querySelector("tr[data-entry]:not([hidden])");
      });
      section.querySelector(".nothing").hidden = total > 0;
      count.textContent = total + " of " + rows.length + " rows";
      section.shownEntries = total === rows.length ? null : shown;
      section.dispatchEvent(new CustomEvent("filtered", { bubbles: true }));
    }

    form.addEventListener("input", apply);
    form.addEventListener("submit", function (event) {
      event.preventDefault();
    });
    form.addEventListener("reset", function () {
      setTimeout(apply);
    });
    form.hidden = false;
    apply();
  }

  /* Tabs: arrow keys move between data sets, the address remembers which one. */
  function tabbed(list) {
    var tabs = Array.prototype.slice.call(list.querySelectorAll("a"));
    var panels = tabs.map(function (tab) {
      return document.getElementById(tab.hash.slice(1));
    });
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

    function show(place, remember) {
      tabs.forEach(function (tab, i) {
        tab.setAttribute("aria-selected", String(i === place));
        tab.tabIndex = i === place ? 0 : -1;
        panels[i].hidden = i !== place;
      });
      if (remember) history.replaceState(null, "", "#" + panels[place].id);
      panels[place].dispatchEvent(new CustomEvent("shown", { bubbles: true }));
    }

    /* A data set, or something on its board. */
    function fromAddress() {
      var named = document.getElementById(location.hash.slice(1));
      var wanted = panels.findIndex(function (panel) {
        return panel.contains(named);
      });
      if (wanted >= 0) show(wanted, false);
      return wanted >= 0;
    }

    window.addEventListener("hashchange", fromAddress);
    if (!fromAddress()) show(0, false);
  }

  // Deferred and first, so that the boards are in place before the chart library is even read.
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("section.board").forEach(filterable);
  document.querySelectorAll("nav.tabs").forEach(tabbed);
})();
