// The worker's ear: one question at a time, with progress at most every 64 KiB of a file.

scope.onmessage = async ({ data: { id, files } }) => {
  let told_ = 0;
  const progress = (object, taken, of) => {
    const now = performance.now();
    if (now - told_ < 100) return;
    told_ = now;
    scope.postMessage({ id, progress: [visible(object), taken, of] });
  };
  try {
    const result = await verifyFiles(files, progress, (part) => scope.postMessage({ id, part }));
    scope.postMessage({ id, result });
  } catch (fault) {
    scope.postMessage({ id, result: { sound: false, results: [], problem: { code: "page.fault", message: visible(fault.stack || fault) } } });
  }
};
