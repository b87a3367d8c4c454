import { FaultyCasStore } from "../support/faulty_cas_store.ts";
import { MemoryCasStore } from "../support/memory_cas_store.ts";
import { openCache } from "../store/cache_fixture.ts";
import { testCasStoreContract } from "./cas_store_contract.ts";

testCasStoreContract("MemoryCasStore", (hash) => {
  const store = new MemoryCasStore(hash);
  return Promise.resolve({
    store,
    damage: (name, bytes) => store.damage(name, bytes),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
});

testCasStoreContract("DiskCasStore", async () => {
  const cache = await openCache();
  return {
    store: cache.store,
    damage: (name, bytes) => Deno.writeFileSync(cache.pathOf("chunk", name), bytes),
    [Symbol.asyncDispose]: () => cache[Symbol.asyncDispose](),
  };
});

testCasStoreContract("FaultyCasStore", (hash) => {
  const inner = new MemoryCasStore(hash);
  return Promise.resolve({
    store: new FaultyCasStore(inner),
    damage: (name, bytes) => inner.damage(name, bytes),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
});
