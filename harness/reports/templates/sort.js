/* Tables of the papers and methods: sorting by any column. */
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

  document.querySelectorAll("table.sortable").forEach(sortable);
})();
