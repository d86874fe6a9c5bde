// Free text over the rows that are loaded: every word has to be in some field. Pure.

/** Whether a row is found; null where nothing is searched for. */
export function matcher(search) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return null;
  return (row) => words.every((word) => fieldsOf(row).some((field) => field?.toLowerCase().includes(word)));
}

function fieldsOf(row) {
  return [row.notice, row.email, row.subject, row.kind, row.state, row.id, row.sender, row.detail, ...(row.tags ?? [])];
}
