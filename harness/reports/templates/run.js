/* One run of a large store: its line of the board's data file, in words. */
(function () {
  "use strict";

  function wanted() {
    var found = {};
    location.hash.slice(1).split("&").forEach(function (part) {
      var at = part.indexOf("=");
      if (at > 0) found[part.slice(0, at)] = decodeURIComponent(part.slice(at + 1));
    });
    return found;
  }

  function put(id, text) {
    document.getElementById(id).textContent = text;
  }

  window.board = function (id, data) {
    var name = wanted().entry;
    var row = data.rows.find(function (one) { return one[0] === name; });
    if (!row) {
      put("verdict", "No run of this name is on this site. All of them: the board, or bench table.");
      return;
    }
    document.title = name + " · reprune";
    put("run", name);
    put("verdict", data.words[row[4]] + (data.words[row[9]] ? " (" + data.words[row[9]] + ")" : ""));
    put("command", "bench show " + name);
    var facts = [["data set", id], ["method", data.words[row[1]]], ["network", data.words[row[2]]]]
      .concat(data.heads.map(function (head, i) { return [head, row[6][i]]; }))
      .concat([["short because", data.words[row[5]]], ["note", row[11] >= 0 ? data.notes[row[11]] : ""]]);
    var list = document.getElementById("facts");
    facts.forEach(function (fact) {
      if (!fact[1] || fact[1] === "–") return;
      var line = list.appendChild(document.createElement("div"));
      line.appendChild(document.createElement("dt")).textContent = fact[0];
      line.appendChild(document.createElement("dd")).textContent = fact[1];
    });
  };

  document.addEventListener("DOMContentLoaded", function () {
    var script = document.createElement("script");
    script.src = "data/" + (wanted().board || "").replace(/[^A-Za-z0-9._-]/g, "_") + ".js";
    document.head.appendChild(script);
  });
})();
